"""Ticks: records that let the labels of an idle partition come due. Pure.

A tick is an Outcome of a user that nobody is, in the outcomes topic, so that a replay reads it where the worker did. It
says that stream time has gone on as long as the worker's own clock has; so a worker whose clock is set wrong does no
harm, and a topic of old events goes on at its own time.

Source: docs/labels.md, docs/decisions/005-stream-time.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.records import Outcome

TICK_USER = "sway.tick"
"""The user id, and key, of a tick; services must not use it."""

_LEAST_WAIT_MS = 1000
_MAX_INTERVAL_MS = 3_600_000
_REPEAT_MS = 30_000


def is_tick(outcome: Outcome) -> bool:
    """Whether an outcome is a tick."""
    return outcome.user_id == TICK_USER


def tick_at(at_ms: int) -> Outcome:
    """Return the tick that brings stream time to at_ms, milliseconds since 1970."""
    return Outcome("tick", TICK_USER, 0.0, at_ms)


@dataclass(slots=True)
class _Standing:
    """Since when the stream time of a partition has not moved, and when a tick was last sent."""

    stream_at: int
    since_ms: int
    sent_ms: int | None = None
    next_due_at: int | None = None


class TickTimes:
    """Says which partition needs a tick, and for what time.

    step_ms: how far one record may move stream time.
    """

    def __init__(self, step_ms: int) -> None:
        self._step_ms = step_ms
        self._interval_ms = min(step_ms, _MAX_INTERVAL_MS)
        self._standing: dict[int, _Standing] = {}

    def keep_only(self, partitions: set[int]) -> None:
        """Forget the other partitions: somebody else may move their time."""
        self._standing = {number: one for number, one in self._standing.items() if number in partitions}

    def stands(self, partition: int, stream_at: int, now_ms: int) -> bool:
        """Note the stream time of a partition; return whether it has stood still for a while.

        stream_at: as it is. now_ms: of a clock that is never set.
        """
        one = self._standing.get(partition)
        if one is None or one.stream_at != stream_at:
            self._standing[partition] = _Standing(stream_at, now_ms)
            return False
        return now_ms - one.since_ms >= _LEAST_WAIT_MS

    def due(
        self, partition: int, next_due_at: Callable[[], int | None], now_ms: int, utc_ms: int
    ) -> int | None:
        """Return the time to which a tick should bring a partition that stands; None if it needs none now.

        next_due_at: asked for the stream time at which something falls due, None if nothing waits; once, while stream
        time stands. now_ms: as for stands. utc_ms: epoch milliseconds; a tick from beyond it would move nothing.
        """
        one = self._standing[partition]
        if one.sent_ms is not None and now_ms - one.sent_ms < _REPEAT_MS:
            return None
        if one.next_due_at is None:
            one.next_due_at = next_due_at()
        stood_ms = now_ms - one.since_ms
        at_ms = min(one.stream_at + min(stood_ms, self._step_ms), utc_ms)
        if one.next_due_at is None or at_ms <= one.stream_at:
            return None
        if at_ms < one.next_due_at and stood_ms < self._interval_ms:
            return None
        one.sent_ms = now_ms
        return at_ms
