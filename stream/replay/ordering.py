"""Merges events and outcomes of a partition in their live reading order, as far as it is known.

Where an old score records how many outcomes were read before its event, that number decides. Elsewhere the record
timestamps decide, with outcomes first at equal times, as in a worker.

The next record depends only on the two positions, so reading can resume there after any interruption.
"""

from dataclasses import dataclass

from stream.exactly_once.units.records import Epoch, RecordBatch, SourceRecord, size_of
from stream.replay.known_order import Before, KnownOrder, Stream

EPOCH = Epoch(0, "replay")  # each partition has one reader, which its own transactional id fences


@dataclass(slots=True)
class Room:
    """Remaining capacity in records and bytes; the last record may exceed the bytes."""

    records: int
    bytes: int

    @property
    def is_left(self) -> bool:
        """Whether another record fits."""
        return self.records > 0 and self.bytes > 0

    def put(self, record: SourceRecord) -> SourceRecord:
        """Subtract a record from the capacity and return it."""
        self.records -= 1
        self.bytes -= size_of(record)
        return record


class MergedOrder:
    """Returns batches of one topic each, in order; no outcome falls between the events of a batch.

    outcomes: None if no outcomes are read.
    """

    def __init__(
        self,
        topics: tuple[str, str],
        partition: int,
        events: Stream,
        outcomes: Stream | None,
        known: KnownOrder,
    ) -> None:
        """topics: names of the events topic and the outcomes topic."""
        self._events_topic, self._outcomes_topic = topics
        self._partition = partition
        self._events = events
        self._outcomes = outcomes
        self._known = known
        # The end offset that was reached; offsets between the last event and it have no records.
        self._events_to = 0
        self._outcomes_next = 0 if outcomes is None else outcomes.position

    @property
    def events_next(self) -> int:
        """Next offset of the events, possibly without a record; at least `stop` once next() has reached it."""
        return max(self._events_to, self._events.position)

    @property
    def outcomes_next(self) -> int:
        """Offset after the last outcome taken, or the one recorded by an old score."""
        return self._outcomes_next

    def next(self, stop: int, max_records: int, room: Room) -> RecordBatch | None:
        """Return the next batch of events below `stop` and of outcomes that precede them; None at the end.

        Each record is subtracted from the room, which must not be empty.
        """
        event = self._events.head()
        if event is None or event.offset >= stop:
            self._events_to = max(self._events_to, stop)
            return None
        before = self._known.before(event)
        due = self._due(event, before, max_records, room)
        if due:
            return self._batch(self._outcomes_topic, due)
        if not before.by_time:
            # The last offsets before the limit may have no records.
            self._outcomes_next = max(self._outcomes_next, before.limit)
        run = [room.put(self._events.take())]
        while len(run) < max_records and room.is_left:
            event = self._events.head()
            if event is None or event.offset >= stop or not self._joins(event):
                break
            run.append(room.put(self._events.take()))
        return self._batch(self._events_topic, run)

    def outcomes_to(self, stop: int, max_records: int, room: Room) -> RecordBatch | None:
        """Return outcomes below `stop` regardless of the next event; None if there are none."""
        taken: list[SourceRecord] = []
        while len(taken) < max_records and room.is_left and self._outcomes is not None:
            head = self._outcomes.head()
            if head is None or head.offset >= stop:
                break
            taken.append(room.put(self._take_outcome(self._outcomes)))
        return self._batch(self._outcomes_topic, taken) if taken else None

    def _due(self, event: SourceRecord, before: Before, max_records: int, room: Room) -> list[SourceRecord]:
        due: list[SourceRecord] = []
        if self._outcomes is not None:
            while len(due) < max_records and room.is_left and self._is_due(event, before):
                due.append(room.put(self._take_outcome(self._outcomes)))
        return due

    def _take_outcome(self, outcomes: Stream) -> SourceRecord:
        record = outcomes.take()
        self._outcomes_next = record.offset + 1
        return record

    def _joins(self, event: SourceRecord) -> bool:
        """Return whether an event has the same preceding outcomes as the batch being built."""
        before = self._known.before(event)
        more_known = not before.by_time and before.limit > self._outcomes_next
        return not more_known and not self._is_due(event, before)

    def _is_due(self, event: SourceRecord, before: Before) -> bool:
        head = None if self._outcomes is None else self._outcomes.head()
        if head is None or head.offset >= before.limit:
            return False
        return not before.by_time or head.timestamp <= event.timestamp

    def _batch(self, topic: str, records: list[SourceRecord]) -> RecordBatch:
        base, end = records[0].offset, records[-1].offset + 1
        return RecordBatch(topic, self._partition, records, base, end, EPOCH)
