"""Connects the processor with the label join: tables and the two stages `read` and `finish`.

In `read` the join decides labels and items are counted. `finish` stores the published estimates of events that wait for
a label, and emits an example for each label.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from model.features.snapshot import Snapshot
from model.words import NO_OUTCOMES, ItemCounts
from schemas.records import LabeledExample, Outcome
from schemas.state_records import Behaviour, Estimate, ItemRate, JoinClock, ScoredSnapshot
from schemas.wire import Encoder
from stream.exactly_once import Unit
from stream.scoring.counts import LABEL_WITHOUT_SCORE, label_from
from stream.scoring.labels.join import Closing, NewEvent, PartitionJoin, next_due_at
from stream.scoring.labels.rules import JoinSettings
from stream.scoring.labels.state import (
    CLOCK_KEY,
    ESTIMATES,
    ITEMS,
    PENDING,
    EstimatesState,
    ItemsState,
    PendingState,
    snapshot_key,
)
from stream.scoring.labels.sums import BatchSums
from stream.scoring.labels.tables import Table


@dataclass(slots=True)
class Labels:
    """Configuration and tables of the label join. topic, codec: of the examples. The tables are set later.

    examples: whether to write examples; without them, labels are still added to later texts.
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
        """Return the stream time at which an entry of a partition is next due; None if there is none."""
        return next_due_at(self.settings, lambda key: self.pending.get_in(partition, key.encode()))

    def begin(self, partition: int, unit: Unit, batch: "BatchLabels", counts: Counter[str]) -> "Labelling":
        """Return the labelling of one batch."""
        return Labelling(self, partition, unit, batch, counts)


@dataclass(frozen=True, slots=True)
class Labeled:
    """The label and estimate of an example, for the metrics."""

    model_version: str
    y: float
    y_hat: float


@dataclass(slots=True)
class BatchLabels:
    """What one batch passes from `read` to `finish`, and its results.

    closings: in order. unlabeled: keys of events without a label. labeled: one entry per emitted example.
    """

    closings: list[Closing] = field(default_factory=list)
    unlabeled: list[bytes] = field(default_factory=list)
    labeled: list[Labeled] = field(default_factory=list)

    def scored(
        self, unit: Unit, partition: int, key: bytes, estimate: Estimate, snapshot: Snapshot | None
    ) -> None:
        """Store an event's published estimates and snapshot until its label is known."""
        unit.put(ESTIMATES, partition, key, estimate)
        if snapshot is not None:
            unit.put(ESTIMATES, partition, snapshot_key(key), ScoredSnapshot(snapshot.encode()))

    def finish(self, labels: Labels, partition: int, unit: Unit, counts: Counter[str]) -> None:
        """Emit an example for each closing with a scored event, and delete estimates that are no longer needed."""
        keys: list[bytes | None] = []
        examples: list[LabeledExample] = []
        self.labeled.clear()
        for closing in self.closings:
            key = closing.key.encode()
            estimate = labels.estimates.get_in(partition, key)
            if not isinstance(estimate, Estimate):  # its text became a dead letter
                counts[LABEL_WITHOUT_SCORE] += 1
                continue
            snapshot = labels.estimates.get_in(partition, snapshot_key(key))
            _forget(unit, partition, key)
            counts[label_from(closing.source)] += 1
            self.labeled.append(Labeled(estimate.model_version, closing.y, estimate.y_hat))
            keys.append(closing.user_id.encode())
            examples.append(_example(closing, estimate, snapshot))
        for unlabeled in self.unlabeled:
            # Has no effect in the rare case that the event's text became a dead letter.
            _forget(unit, partition, unlabeled)
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
    """The labelling of one batch during `read`; the methods return the closings that they cause.

    examples: whether to write examples. sums: of the partition; the caller updates them with the closings.
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
            self._batch.unlabeled.append(key.encode())

    def advance(self, user_id: str, own_time_ms: int, kafka_time_ms: int) -> Sequence[Closing]:
        """Advance stream time by a record of a user; return the closings of events that are now due."""
        closings = self._join.advance(user_id, own_time_ms, kafka_time_ms)
        return self._count_items(closings) if closings else closings

    def tick(self, own_time_ms: int, kafka_time_ms: int) -> Sequence[Closing]:
        """Advance stream time by a tick; return the closings of events that are now due."""
        return self._count_items(self._join.tick(own_time_ms, kafka_time_ms))

    def event(
        self, user_id: str, event: Behaviour, history: str, target: str
    ) -> tuple[bytes | None, Sequence[Closing]]:
        """Add an event to the join. event: as stored in the state, with truncated strings.

        Returns the key of its estimate, or None if no example will need it; and its closing, if its outcome arrived
        first.
        """
        self.sums.count_behaviour(user_id.encode(), event.occurred_at)
        new = NewEvent(user_id, event.event_id, event.item_id, event.action, event.occurred_at)
        key, closing = self._join.event(new, history, target)
        estimate_key = None if key is None or not self.examples else key.encode()
        return estimate_key, () if closing is None else self._count_items([closing])

    def outcome(self, outcome: Outcome) -> Sequence[Closing]:
        """Process an outcome."""
        closing = self._join.outcome(
            outcome.user_id, outcome.event_id, outcome.observed_at, outcome.y, outcome.z
        )
        return () if closing is None else self._count_items([closing])

    def item(self, item_id: str) -> ItemCounts:
        """Return the outcome counts of an item in this partition so far."""
        if not item_id:
            return NO_OUTCOMES
        rate = self._labels.items.get_in(self._partition, item_id.encode())
        return ItemCounts(rate.outcomes, rate.positive) if isinstance(rate, ItemRate) else NO_OUTCOMES

    def end(self) -> None:
        """Write the state of the join and the sums."""
        self._join.end()
        self.sums.end(self._unit)

    def _count_items(self, closings: Sequence[Closing]) -> Sequence[Closing]:
        for closing in closings:
            if closing.item_id:
                self._count_item(closing)
        return closings

    def _count_item(self, closing: Closing) -> None:
        key = closing.item_id.encode()
        found = self._labels.items.get_in(self._partition, key)
        rate = found if isinstance(found, ItemRate) else ItemRate(0, 0, 0.0)
        updated = ItemRate(
            rate.outcomes + 1, rate.positive + (closing.y >= 0.5), rate.z_sum + (closing.z or 0.0)
        )
        self._unit.put(ITEMS, self._partition, key, updated)


class NoLabelling:
    """The labelling if labels are disabled: does nothing."""

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
