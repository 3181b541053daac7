"""Between the processor and the label join: the tables, and the two stages.

Read: the join decides, items are counted. Finish: what was published is kept until its label comes, and the example
is emitted with it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from model.features.snapshot import Snapshot
from model.words import NO_OUTCOMES, ItemCounts
from schemas.records import (
    Behaviour,
    Estimate,
    ItemRate,
    JoinClock,
    LabeledExample,
    Outcome,
    ScoredSnapshot,
)
from schemas.wire import Encoder
from stream.counts import LABEL_WITHOUT_SCORE, label_from
from stream.exactly_once import Unit
from stream.labels.join import Closing, NewEvent, PartitionJoin, next_due_at
from stream.labels.rules import JoinSettings
from stream.labels.state import (
    CLOCK_KEY,
    ESTIMATES,
    ITEMS,
    PENDING,
    EstimatesState,
    ItemsState,
    PendingState,
    snapshot_key,
)
from stream.labels.sums import BatchSums
from stream.labels.tables import Table


@dataclass(slots=True)
class Labels:
    """What labelling works with. topic, codec: of the examples. The tables are set once they exist.

    examples: whether they are wanted; without them labels still become part of later texts.
    """

    settings: JoinSettings
    topic: str
    codec: Encoder[LabeledExample]
    examples: bool = True
    pending: Table[PendingState] = field(init=False)
    estimates: Table[EstimatesState] = field(init=False)
    items: Table[ItemsState] = field(init=False)

    def stream_at(self, partition: int) -> int:
        """Return the stream time of a partition; 0 before its first record."""
        clock = self.pending.get_in(partition, CLOCK_KEY.encode())
        return clock.stream_at if isinstance(clock, JoinClock) else 0

    def next_due_at(self, partition: int) -> int | None:
        """Return the stream time at which something of a partition falls due next; None if nothing waits."""
        return next_due_at(self.settings, lambda key: self.pending.get_in(partition, key.encode()))

    def begin(self, partition: int, unit: Unit, batch: "BatchLabels", counts: Counter[str]) -> "Labelling":
        """Return the labelling of one batch."""
        return Labelling(self, partition, unit, batch, counts)


@dataclass(frozen=True, slots=True)
class Labeled:
    """A joined example's figures, for the metrics."""

    model_version: str
    y: float
    y_hat: float


@dataclass(slots=True)
class BatchLabels:
    """What one batch leaves for `finish`: closings to write in order, events given up; and what it came to."""

    closings: list[Closing] = field(default_factory=list)
    given_up: list[bytes] = field(default_factory=list)
    labeled: list[Labeled] = field(default_factory=list)

    def scored(
        self, unit: Unit, partition: int, key: bytes, estimate: Estimate, snapshot: Snapshot | None
    ) -> None:
        """Keep what was published for an event, and what was known of it, until its label comes."""
        unit.put(ESTIMATES, partition, key, estimate)
        if snapshot is not None:
            unit.put(ESTIMATES, partition, snapshot_key(key), ScoredSnapshot(snapshot.encode()))

    def finish(self, labels: Labels, partition: int, unit: Unit, counts: Counter[str]) -> None:
        """Emit an example for each closing whose event was scored, and forget the estimates that nobody needs."""
        keys: list[bytes | None] = []
        examples: list[LabeledExample] = []
        self.labeled.clear()
        for closing in self.closings:
            key = closing.key.encode()
            estimate = labels.estimates.get_in(partition, key)
            if not isinstance(estimate, Estimate):  # its text was a dead letter
                counts[LABEL_WITHOUT_SCORE] += 1
                continue
            snapshot = labels.estimates.get_in(partition, snapshot_key(key))
            _forget(unit, partition, key)
            counts[label_from(closing.source)] += 1
            self.labeled.append(Labeled(estimate.model_version, closing.y, estimate.y_hat))
            keys.append(closing.user_id.encode())
            examples.append(_example(closing, estimate, snapshot))
        for given_up in self.given_up:
            _forget(unit, partition, given_up)  # one whose text was a dead letter has none; that is rare
        if examples:
            unit.emit_all(labels.topic, keys, labels.codec.encode_batch(examples))


def _forget(unit: Unit, partition: int, key: bytes) -> None:
    unit.delete(ESTIMATES, partition, key)
    unit.delete(ESTIMATES, partition, snapshot_key(key))


def _example(closing: Closing, estimate: Estimate, snapshot: EstimatesState | None) -> LabeledExample:
    return LabeledExample(
        event_id=closing.event_id,
        user_id=closing.user_id,
        item_id=closing.item_id,
        history=closing.history,
        target=closing.target,
        y=closing.y,
        y_hat=estimate.y_hat,
        z_hat=estimate.z_hat,
        model_version=estimate.model_version,
        label_source=closing.source,
        occurred_at=closing.occurred_at,
        labeled_at=closing.labeled_at,
        z=closing.z,
        snapshot=snapshot.snapshot if isinstance(snapshot, ScoredSnapshot) else None,
    )


class Labelling:
    """The labelling of one batch while it is read; every method returns the closings that it caused.

    examples: whether they are wanted. sums: of the partition; whoever holds the windows teaches them the closings.
    """

    def __init__(
        self, labels: Labels, partition: int, unit: Unit, batch: BatchLabels, counts: Counter[str]
    ) -> None:
        self._labels = labels
        self._partition = partition
        self._unit = unit
        self._batch = batch
        self._counts = counts
        self.examples = labels.examples
        self.sums = BatchSums(labels.items, partition)
        self._join = PartitionJoin(labels.settings, self._get, self._put, self._count, batch.closings.append)

    def _get(self, key: str) -> PendingState | None:
        return self._labels.pending.get_in(self._partition, key.encode())

    def _put(self, key: str, value: PendingState | None) -> None:
        self._unit.put(PENDING, self._partition, key.encode(), value)

    def _count(self, what: str, key: str) -> None:
        self._counts[what] += 1
        if what == "unlabeled":
            self._batch.given_up.append(key.encode())

    def advance(self, user_id: str, own_time_ms: int, kafka_time_ms: int) -> Sequence[Closing]:
        """Take in a record's time and whose it is; return what falls due by it."""
        closings = self._join.advance(user_id, own_time_ms, kafka_time_ms)
        return self._note(closings) if closings else closings

    def tick(self, own_time_ms: int, kafka_time_ms: int) -> Sequence[Closing]:
        """Take in a tick's time; return what falls due by it."""
        return self._note(self._join.tick(own_time_ms, kafka_time_ms))

    def event(
        self, user_id: str, event: Behaviour, history: str, target: str
    ) -> tuple[bytes | None, Sequence[Closing]]:
        """Let an event wait for its label; event: as the state keeps it, its words cut to their limits.

        Returns the key under which its estimate waits, None if no example will need it; and its
        closing, if its outcome came first.
        """
        self.sums.seen(user_id.encode(), event.occurred_at)
        new = NewEvent(user_id, event.event_id, event.item_id, event.action, event.occurred_at)
        key, closing = self._join.event(new, history, target)
        waits = None if key is None or not self.examples else key.encode()
        return waits, () if closing is None else self._note([closing])

    def outcome(self, outcome: Outcome) -> Sequence[Closing]:
        """Take in an outcome."""
        closing = self._join.outcome(
            outcome.user_id, outcome.event_id, outcome.observed_at, outcome.y, outcome.z
        )
        return () if closing is None else self._note([closing])

    def item(self, item_id: str) -> ItemCounts:
        """Return what came of an item so far, in this partition."""
        if not item_id:
            return NO_OUTCOMES
        rate = self._labels.items.get_in(self._partition, item_id.encode())
        return ItemCounts(rate.outcomes, rate.positive) if isinstance(rate, ItemRate) else NO_OUTCOMES

    def end(self) -> None:
        """Write what the batch came to."""
        self._join.end()
        self.sums.end(self._unit)

    def _note(self, closings: Sequence[Closing]) -> Sequence[Closing]:
        for closing in closings:
            if closing.item_id:
                self._learn_item(closing)
        return closings

    def _learn_item(self, closing: Closing) -> None:
        key = closing.item_id.encode()
        found = self._labels.items.get_in(self._partition, key)
        rate = found if isinstance(found, ItemRate) else ItemRate(0, 0, 0.0)
        learnt = ItemRate(
            rate.outcomes + 1, rate.positive + (closing.y >= 0.5), rate.z_sum + (closing.z or 0.0)
        )
        self._unit.put(ITEMS, self._partition, key, learnt)


class NoLabelling:
    """The labelling of a batch where no label can come: nothing waits, and nothing is learnt."""

    examples = False

    def __init__(self, partition: int) -> None:
        self.sums = BatchSums(None, partition)

    def advance(self, _user_id: str, _own_time_ms: int, _kafka_time_ms: int) -> Sequence[Closing]:
        """See Labelling."""
        return ()

    def tick(self, _own_time_ms: int, _kafka_time_ms: int) -> Sequence[Closing]:
        """See Labelling."""
        return ()

    def event(
        self, _user_id: str, _event: Behaviour, _history: str, _target: str
    ) -> tuple[bytes | None, Sequence[Closing]]:
        """See Labelling."""
        return None, ()

    def outcome(self, _outcome: Outcome) -> Sequence[Closing]:
        """See Labelling."""
        return ()

    def item(self, _item_id: str) -> ItemCounts:
        """See Labelling."""
        return NO_OUTCOMES

    def end(self) -> None:
        """See Labelling."""
