"""Counts users whose window may be incomplete because retention deleted earlier events.

A window that has overflowed contains only events that were read. Any other window may have been longer when live.
"""

from collections.abc import Mapping

from stream.exactly_once.units.records import RecordBatch
from stream.exactly_once.units.unit import Unit
from stream.replay.plan import PartitionPlan
from stream.replay.state import PAST_RETENTION, ReplayState
from stream.scoring.windows import Window


class PastRetention:
    """Checks the users of one partition; costs nothing if no records can be missing."""

    def __init__(self, partition: int, plan: PartitionPlan, state: ReplayState, events: str) -> None:
        self._partition = partition
        self._plan = plan
        self._state = state
        self._events = events

    def before(self, records: RecordBatch) -> dict[bytes, Window | None]:
        """Return the windows by user before events of the range are read."""
        scored = self._plan.scored
        of_range = records.topic == self._events and scored.start <= records.base < scored.end
        if not (of_range and self._plan.may_lack_a_past):
            return {}
        keys = {record.key or b"" for record in records.records}
        return {key: self._state.windows.get_in(self._partition, key) for key in keys}

    def count_new_users(self, unit: Unit, before: Mapping[bytes, Window | None]) -> int:
        """Record users that appear for the first time, after the events were read, and return their number."""
        noted = 0
        for key, window in before.items():
            full = window is not None and window.floor is not None
            if full or self._state.past_retention.get_in(self._partition, key):
                continue
            if self._state.windows.get_in(self._partition, key) is None:
                continue  # a dead letter: no user has this key
            unit.put(PAST_RETENTION, self._partition, key, True)
            noted += 1
        return noted
