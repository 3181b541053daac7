"""Counts the users whose window may lack what retention has taken.

A window that has overflowed was filled by what was read; one that never has may have been longer live.
"""

from collections.abc import Mapping

from stream.exactly_once.units.records import RecordBatch
from stream.exactly_once.units.unit import Unit
from stream.replay.plan import PartitionPlan
from stream.replay.state import PAST_RETENTION, ReplayState
from stream.windows import Window


class PastRetention:
    """Watches one partition; every method costs nothing where nothing can be missing."""

    def __init__(self, partition: int, plan: PartitionPlan, state: ReplayState, events: str) -> None:
        self._partition = partition
        self._plan = plan
        self._state = state
        self._events = events

    def before(self, records: RecordBatch) -> dict[bytes, Window | None]:
        """Return the windows, by user, before events of the range are read."""
        scored = self._plan.scored
        of_range = records.topic == self._events and scored.start <= records.base < scored.end
        if not (of_range and self._plan.may_lack_a_past):
            return {}
        keys = {record.key or b"" for record in records.records}
        return {key: self._state.windows.get_in(self._partition, key) for key in keys}

    def note(self, unit: Unit, before: Mapping[bytes, Window | None]) -> int:
        """Note the users who are met for the first time; return how many, once the events are read."""
        noted = 0
        for key, window in before.items():
            full = window is not None and window.floor is not None
            if full or self._state.past_retention.get_in(self._partition, key):
                continue
            if self._state.windows.get_in(self._partition, key) is None:
                continue  # a dead letter: nobody has a window by this key
            unit.put(PAST_RETENTION, self._partition, key, True)
            noted += 1
        return noted
