"""Events and outcomes of a partition in one order: the one in which they were read live, as far as it is known. Pure.

Where an old score tells how many outcomes had been read before its event, that decides; elsewhere Kafka's own record
times do, outcomes first at equal times, as a worker does with what one poll brings.

What comes next depends on the two positions alone, so that reading can go on from there after any interruption.
"""

from dataclasses import dataclass

from stream.exactly_once.units.records import Epoch, RecordBatch, SourceRecord, size_of
from stream.replay.known_order import Before, KnownOrder, Stream

EPOCH = Epoch(0, "replay")  # there is one reader of a partition, and its own transactional id fences it


@dataclass(slots=True)
class Room:
    """For how many records and bytes there is room; the last record that is put in may be longer."""

    records: int
    bytes: int

    @property
    def is_left(self) -> bool:
        """Whether another one goes in."""
        return self.records > 0 and self.bytes > 0

    def put(self, record: SourceRecord) -> SourceRecord:
        """Take a record in, and return it."""
        self.records -= 1
        self.bytes -= size_of(record)
        return record


class MergedOrder:
    """Gives batches of one topic each, in order; a batch of events has no outcome between them.

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
        """topics: of the events and of the outcomes."""
        self._events_topic, self._outcomes_topic = topics
        self._partition = partition
        self._events = events
        self._outcomes = outcomes
        self._known = known
        self._events_to = 0  # a stop that was reached: what lies between the last event and it are holes
        self._outcomes_next = 0 if outcomes is None else outcomes.position

    @property
    def events_next(self) -> int:
        """The next event's offset, or one in the hole before it; a stop at least, once next() has come to it."""
        return max(self._events_to, self._events.position)

    @property
    def outcomes_next(self) -> int:
        """The one after the last outcome that was taken, or as an old score told it, as live: holes stay ahead."""
        return self._outcomes_next

    def next(self, stop: int, max_records: int, room: Room) -> RecordBatch | None:
        """Return what comes next of the events below `stop` and the outcomes that go before these; None if nothing.

        Each is put into the room, in which some must be left.
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
            self._outcomes_next = max(self._outcomes_next, before.limit)  # the last of them may be holes
        run = [room.put(self._events.take())]
        while len(run) < max_records and room.is_left:
            event = self._events.head()
            if event is None or event.offset >= stop or not self._joins(event):
                break
            run.append(room.put(self._events.take()))
        return self._batch(self._events_topic, run)

    def outcomes_to(self, stop: int, max_records: int, room: Room) -> RecordBatch | None:
        """Return outcomes below `stop`, whatever event comes next; None if there are no more."""
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
        """Whether an event has the same outcomes before it as the batch that is being made."""
        before = self._known.before(event)
        told_more = not before.by_time and before.limit > self._outcomes_next
        return not told_more and not self._is_due(event, before)

    def _is_due(self, event: SourceRecord, before: Before) -> bool:
        head = None if self._outcomes is None else self._outcomes.head()
        if head is None or head.offset >= before.limit:
            return False
        return not before.by_time or head.timestamp <= event.timestamp

    def _batch(self, topic: str, records: list[SourceRecord]) -> RecordBatch:
        base, end = records[0].offset, records[-1].offset + 1
        return RecordBatch(topic, self._partition, records, base, end, EPOCH)
