"""Ticks: records that advance the stream time of idle partitions, so that their labels become due.

A tick is an Outcome with a reserved user id in the outcomes topic, so that a replay reads it at the same position as
the worker did. It advances stream time by as much as the worker's monotonic clock has advanced. A wrong wall clock
therefore does no harm, and a topic of old events advances from its own time.

Source: docs/labels.md, docs/decisions/005-stream-time.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.records import Outcome

TICK_USER = "sway.tick"
"""The user id and key of a tick. Services must not use it."""

_MIN_IDLE_MS = 1000
_MAX_INTERVAL_MS = 3_600_000
_REPEAT_MS = 30_000


def is_tick(outcome: Outcome) -> bool:
    """Return whether an outcome is a tick."""
    return outcome.user_id == TICK_USER


def tick_at(at_ms: int) -> Outcome:
    """Return the tick that advances stream time to at_ms, in epoch milliseconds."""
    return Outcome("tick", TICK_USER, 0.0, at_ms)


@dataclass(slots=True)
class _IdleState:
    """When a partition's stream time last changed, and when the last tick was sent."""

    stream_at: int
    since_ms: int
    sent_ms: int | None = None
    next_due_at: int | None = None


class TickTimes:
    """Decides which partitions need a tick, and for what time.

    step_ms: maximum step of stream time by one record.
    """

    def __init__(self, step_ms: int) -> None:
        self._step_ms = step_ms
        self._interval_ms = min(step_ms, _MAX_INTERVAL_MS)
        self._states: dict[int, _IdleState] = {}

    def retain(self, partitions: set[int]) -> None:
        """Forget all other partitions; other workers may advance their stream time."""
        self._states = {number: state for number, state in self._states.items() if number in partitions}

    def is_idle(self, partition: int, stream_at: int, now_ms: int) -> bool:
        """Record a partition's stream time; return whether it has been unchanged for at least a second.

        now_ms: a monotonic clock, in milliseconds.
        """
        state = self._states.get(partition)
        if state is None or state.stream_at != stream_at:
            self._states[partition] = _IdleState(stream_at, now_ms)
            return False
        return now_ms - state.since_ms >= _MIN_IDLE_MS

    def due(
        self, partition: int, next_due_at: Callable[[], int | None], now_ms: int, utc_ms: int
    ) -> int | None:
        """Return the stream time to which a tick should advance an idle partition, or None if it needs no tick now.

        next_due_at: called once per idle period; returns the stream time at which an entry is next due, or None.
        now_ms: a monotonic clock, as for is_idle. utc_ms: the wall clock in epoch milliseconds; no tick is beyond it,
        because it would have no effect.
        """
        state = self._states[partition]
        if state.sent_ms is not None and now_ms - state.sent_ms < _REPEAT_MS:
            return None
        if state.next_due_at is None:
            state.next_due_at = next_due_at()
        idle_ms = now_ms - state.since_ms
        at_ms = min(state.stream_at + min(idle_ms, self._step_ms), utc_ms)
        if state.next_due_at is None or at_ms <= state.stream_at:
            return None
        if at_ms < state.next_due_at and idle_ms < self._interval_ms:
            return None
        state.sent_ms = now_ms
        return at_ms
