"""Stream time of one partition, from its records alone. Pure.

A step of at most the grace needs no proof, since labels bear records that are late by the grace. A larger step is taken
only as far as more than half of the partition's newest users have come, so that one wrong clock moves nothing.

Source: docs/labels.md, docs/decisions/005-stream-time.md.
"""

from collections.abc import Sequence

from schemas.records import Turn, Witnesses

MAX_TURNS = 16
_LEAST_STEP_MS = 60_000
_THE_PAST = -1
"""The witness for a stream time that an older version has left; no checksum of a user id is negative."""


def step_ms(grace_ms: int) -> int:
    """Return how far one record may move stream time without other witnesses."""
    return max(grace_ms, _LEAST_STEP_MS)


class StreamTime:
    """Stream time, and the turns of the users who witness it.

    A turn is the consecutive records of one user. A user whose own clock goes on for long begins new turns, so that one
    who stays alone is believed once its clock has gone through the whole waiting time.

    at, witnesses: as the state has them; 0 and None before the first record.
    step_ms: how far one record may move it. wait_ms: how long an event waits for its label.
    """

    __slots__ = ("_began", "_step_ms", "_turn_ms", "at", "doubted", "jumped_at", "turns")

    def __init__(self, at: int, witnesses: Witnesses | None, step_ms: int, wait_ms: int) -> None:
        if witnesses is None or witnesses.stream_at != at:  # an older version has moved it
            jumped_at = 0 if witnesses is None else witnesses.jumped_at
            witnesses = Witnesses(True, jumped_at, at, [Turn(_THE_PAST, at, at)] if at else [])
        self.at = at
        self.doubted = witnesses.doubted
        self.jumped_at = witnesses.jumped_at
        self.turns = list(witnesses.turns)
        self._began = witnesses
        self._step_ms = step_ms
        self._turn_ms = -(-wait_ms // (MAX_TURNS - 1))

    def advance(self, user: int, time_ms: int) -> None:
        """Take in a record's time. user: a checksum of whose it is, not negative."""
        self._note(user, time_ms)
        if self.doubted:
            self._settle_doubt(time_ms)
        if time_ms <= self.at:
            return
        if time_ms <= self.at + self._step_ms:
            self.at = time_ms
        else:
            self._jump()

    def tick(self, time_ms: int) -> None:
        """Take in a tick's time. A tick is made of stream time itself, so it bears witness to nothing."""
        if self.at < time_ms <= self.at + self._step_ms:
            self.at = time_ms

    def changed(self) -> Witnesses | None:
        """Return the witnesses if they are others than at the beginning."""
        now = Witnesses(self.doubted, self.jumped_at, self.at, self.turns)
        return None if now == self._began else now

    def _note(self, user: int, time_ms: int) -> None:
        turns = self.turns
        if turns and turns[-1].user == user and time_ms <= turns[-1].began_at + self._turn_ms:
            turns[-1] = Turn(user, turns[-1].began_at, time_ms)
            return
        turns.append(Turn(user, time_ms, time_ms))
        del turns[:-MAX_TURNS]

    def _settle_doubt(self, time_ms: int) -> None:
        """Follow the first user alone; take back what it said if the second one's clock is far behind."""
        times = _newest(self.turns)
        if len(times) == 1:
            self.at = max(self.at, time_ms)
            return
        self.doubted = False
        if self.at > min(times) + self._step_ms:
            self.at = min(times)

    def _jump(self) -> None:
        times = sorted(_newest(self.turns))
        if len(times) == 1 and len(self.turns) < MAX_TURNS:
            return
        reached = times[(len(times) - 1) // 2]
        if reached > self.at:
            self.at = self.jumped_at = reached


def _newest(turns: Sequence[Turn]) -> list[int]:
    """Return one time a user: that of its record which was read last."""
    return list({turn.user: turn.last_at for turn in turns}.values())
