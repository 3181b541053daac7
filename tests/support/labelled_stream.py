"""The label join of a partition with its state in a dictionary: events and outcomes in, examples out."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from stream.scoring.labels.join import Closing, NewEvent, PartitionJoin
from stream.scoring.labels.rules import JoinSettings
from stream.scoring.labels.state import PendingState

_BATCH = 20


class Seen(NamedTuple):
    """An event and its outcome. positive_after_ms: delay of its positive outcome; None if it has none."""

    event_id: str
    occurred_at: int
    positive_after_ms: int | None


Record = tuple[int, int, Seen]
"""The time at which it is read, 0 for an event and 1 for its outcome, and the event."""


class LabelledStream:
    """One partition. written: the examples written so far, in order."""

    def __init__(self, settings: JoinSettings) -> None:
        self._settings = settings
        self._state: dict[str, PendingState] = {}
        self.written: list[Closing] = []

    def play(self, events: Iterable[Seen], until_ms: int) -> None:
        """Read events and their outcomes in time order, up to `until_ms`."""
        feed = [(one.occurred_at, 0, one) for one in events]
        feed += [
            (one.occurred_at + one.positive_after_ms, 1, one)
            for _, _, one in feed
            if one.positive_after_ms is not None
        ]
        for batch in _batches((record for record in sorted(feed) if record[0] <= until_ms), _BATCH):
            self._read(batch)

    def _read(self, batch: list[Record]) -> None:
        join = PartitionJoin(
            self._settings, self._state.get, self._put, lambda _what, _key: None, self.written.append
        )
        for at_ms, is_outcome, one in batch:
            join.advance("ann", at_ms, at_ms)
            if is_outcome:
                join.outcome("ann", one.event_id, at_ms, y=1.0, z=None)
            else:
                event = NewEvent("ann", one.event_id, item_id="", action="view", occurred_at=one.occurred_at)
                join.event(event, history="", target="view lamp")
        join.end()

    def _put(self, key: str, value: PendingState | None) -> None:
        if value is None:
            self._state.pop(key, None)
        else:
            self._state[key] = value


def _batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    left = iter(records)
    while batch := list(islice(left, size)):
        yield batch
