"""Stream time of one partition, computed from its records only.

A step of at most the grace needs no confirmation, because labels tolerate records that are late by the grace. A larger
step goes only as far as more than half of the partition's most recent users have come, so that a single wrong clock
does not move stream time.

Source: docs/labels.md, docs/decisions/005-stream-time.md.
"""

from collections.abc import Sequence

from schemas.state_records import Turn, Witnesses

MAX_TURNS = 16
_MIN_STEP_MS = 60_000
_NO_USER = -1
"""User of the witness for a stream time written by an older version; checksums of user ids are not negative."""


def step_ms(grace_ms: int) -> int:
    """Return the maximum step of stream time by one record without further witnesses."""
    return max(grace_ms, _MIN_STEP_MS)


class StreamTime:
    """Stream time, and the turns of the users who witness it.

    A turn is a run of consecutive records of one user. It also ends when the user's own clock has advanced by a
    fifteenth of the wait, so that a user who stays alone is believed after its clock has advanced by the whole wait.

    at, witnesses: from the state; 0 and None before the first record.
    step_ms: maximum step by one record. wait_ms: how long an event waits for its label.
    """

    __slots__ = ("_initial", "_step_ms", "_turn_ms", "at", "doubted", "jumped_at", "turns")

    def __init__(self, at: int, witnesses: Witnesses | None, step_ms: int, wait_ms: int) -> None:
        # An older version may have changed stream time.
        if witnesses is None or witnesses.stream_at != at:
            jumped_at = 0 if witnesses is None else witnesses.jumped_at
            witnesses = Witnesses(True, jumped_at, at, [Turn(_NO_USER, at, at)] if at else [])
        self.at = at
        self.doubted = witnesses.doubted
        self.jumped_at = witnesses.jumped_at
        self.turns = list(witnesses.turns)
        self._initial = witnesses
        self._step_ms = step_ms
        self._turn_ms = -(-wait_ms // (MAX_TURNS - 1))

    def advance(self, user: int, time_ms: int) -> None:
        """Advance by a record's time. user: a non-negative checksum of its user id."""
        self._record_turn(user, time_ms)
        if self.doubted:
            self._resolve_doubt(time_ms)
        if time_ms <= self.at:
            return
        if time_ms <= self.at + self._step_ms:
            self.at = time_ms
        else:
            self._jump()

    def tick(self, time_ms: int) -> None:
        """Advance by a tick's time. A tick is derived from stream time and therefore is no witness."""
        if self.at < time_ms <= self.at + self._step_ms:
            self.at = time_ms

    def changed(self) -> Witnesses | None:
        """Return the witnesses if they have changed since construction, or None."""
        now = Witnesses(self.doubted, self.jumped_at, self.at, self.turns)
        return None if now == self._initial else now

    def _record_turn(self, user: int, time_ms: int) -> None:
        turns = self.turns
        if turns and turns[-1].user == user and time_ms <= turns[-1].began_at + self._turn_ms:
            turns[-1] = Turn(user, turns[-1].began_at, time_ms)
            return
        turns.append(Turn(user, time_ms, time_ms))
        del turns[:-MAX_TURNS]

    def _resolve_doubt(self, time_ms: int) -> None:
        """Follow the first user while alone; roll back if the second user's clock is behind by more than the step."""
        times = _latest_times(self.turns)
        if len(times) == 1:
            self.at = max(self.at, time_ms)
            return
        self.doubted = False
        if self.at > min(times) + self._step_ms:
            self.at = min(times)

    def _jump(self) -> None:
        times = sorted(_latest_times(self.turns))
        if len(times) == 1 and len(self.turns) < MAX_TURNS:
            return
        reached = times[(len(times) - 1) // 2]
        if reached > self.at:
            self.at = self.jumped_at = reached


def _latest_times(turns: Sequence[Turn]) -> list[int]:
    """Return one time per user: that of the user's latest record."""
    return list({turn.user: turn.last_at for turn in turns}.values())
