"""Sway's processor without Kafka and without a model: real codecs, tokenizer, units and layers.

A dictionary of encoded values replaces RocksDB. A score is a checksum of the scored text, so equal scores mean equal
texts.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from model.errors import ModelOutputError
from model.jobs import LateText
from model.reading import Reading
from model.tokens import BehaviourTokenizer, EncodedText
from model.waiting import ScoredTexts
from schemas.records import (
    BehaviorEvent,
    DeadLetter,
    InfluenceScore,
    LabeledExample,
    Outcome,
)
from schemas.resolvers import Resolver
from schemas.validate import Limits
from schemas.wire import Codec
from stream.exactly_once import RecordBatch, Unit
from stream.exactly_once.units.layers import Layers
from stream.exactly_once.units.records import Epoch, TopicPartition
from stream.replay.streams import Record
from stream.scoring.batch import BatchContext, Pending
from stream.scoring.behaviours import BehaviourLimits
from stream.scoring.labels.labelling import Labels
from stream.scoring.labels.rules import JoinSettings
from stream.scoring.labels.state import (
    ESTIMATES,
    ITEMS,
    PENDING,
    EstimatesState,
    ItemsState,
    PendingState,
    estimates_codec,
    items_codec,
    pending_codec,
)
from stream.scoring.processor import WINDOWS, Codecs, ScoringProcessor, Topics
from stream.scoring.windows import EMPTY, Window, WindowLimits
from stream.settings import WireSettings
from stream.wire import codec_for

V = TypeVar("V")

NOW_MS = 1_750_000_000_000
EPOCH = Epoch(1, "member")
EXAMPLES = "t.examples"
TOPICS = Topics("t.events", "t.outcomes", "t.scores", "t.dead-letters")


def codecs(resolver: Resolver | None = None) -> Codecs:
    """Return the codecs of the default settings."""
    wire = WireSettings()
    return Codecs(
        events=codec_for(BehaviorEvent, TOPICS.events, wire, resolver),
        outcomes=codec_for(Outcome, TOPICS.outcomes, wire, resolver),
        scores=codec_for(InfluenceScore, TOPICS.scores, wire),
        dead_letters=codec_for(DeadLetter, TOPICS.dead_letters, wire),
        late_dead_letters=codec_for(DeadLetter, TOPICS.dead_letters, wire),
    )


_SCORES, _EXAMPLES, _DEAD_LETTERS = Codec(InfluenceScore), Codec(LabeledExample), Codec(DeadLetter)
# Shared, since creating codecs takes milliseconds and a property test creates hundreds of processors.
_CODECS = codecs()


def event(
    event_id: str = "e1", user_id: str = "ann", occurred_at: int = NOW_MS, **more: Any
) -> BehaviorEvent:
    """Return a valid event, changed by the arguments."""
    return BehaviorEvent(
        event_id, user_id, **{"action": "watch", "occurred_at": occurred_at, "item_text": "alien", **more}
    )


def outcome(event_id: str = "e1", user_id: str = "ann", y: float = 1.0, z: float | None = None) -> Outcome:
    """Return an outcome of an event, observed at NOW_MS."""
    return Outcome(event_id, user_id, y, NOW_MS, z)


class ValueCodec(Protocol[V]):
    """Encodes and decodes the values of a table."""

    def dumps(self, value: V, /) -> bytes: ...

    def loads(self, raw: bytes) -> V: ...


class MemoryTable(Generic[V]):
    """A table with real layers; committed values are bytes in a dictionary, decoded at each lookup."""

    def __init__(self, name: str, codec: ValueCodec[V]) -> None:
        self.name = name
        self.codec = codec
        self.stored: dict[tuple[int, Any], bytes] = {}
        self.layers: Layers[tuple[int, Any], V] = Layers(self._committed, 0, lambda _key, _value: 1)

    def get_in(self, partition: int, key: bytes) -> V | None:
        return self.layers.get((partition, key))

    def commit_oldest(self, unit: Unit) -> None:
        for where, value in unit.layers[self.name].items():
            if value is None:
                self.stored.pop(where, None)
            else:
                self.stored[where] = self.codec.dumps(value)
        self.layers.commit_oldest()

    def _committed(self, where: tuple[int, Any]) -> V | None:
        raw = self.stored.get(where)
        return None if raw is None else self.codec.loads(raw)


@dataclass(slots=True)
class Model:
    """The part of a model that the processor reads."""

    version: str
    tokenizer: BehaviourTokenizer
    lam: float = 0.5
    reading: Reading = Reading.JOINT


def score_of(text: EncodedText | LateText) -> tuple[np.float32, np.float32]:
    """Return y_hat and z_hat of a text: two checksums in [0, 1) of its ids, or of all inputs of a late model."""
    if isinstance(text, LateText):
        ids = b"".join((text.snapshot.encode(), text.piece.ids, *(piece.ids for piece in text.pieces())))
    else:
        ids = text.ids
    return np.float32(zlib.crc32(ids) / 2**32), np.float32(zlib.adler32(ids) / 2**32)


@dataclass(slots=True)
class Published:
    """The outputs of committed units, in order, and the text of each score."""

    scores: list[InfluenceScore] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    dead_letter_keys: list[bytes | None] = field(default_factory=list)
    examples: list[LabeledExample] = field(default_factory=list)
    texts: dict[int, EncodedText] = field(default_factory=dict)
    """Texts by the offset of their event."""
    late_texts: list[LateText] = field(default_factory=list)
    """Texts of a late model, in order."""
    contexts: list[BatchContext] = field(default_factory=list)

    def score(self, event_id: str) -> InfluenceScore:
        """Return the only score of an event."""
        (found,) = [score for score in self.scores if score.event_id == event_id]
        return found


class Processing:
    """Delivers batches to a processor in units, and commits the units in order."""

    def __init__(
        self,
        tokenizer: BehaviourTokenizer,
        *,
        windows: WindowLimits | None = None,
        behaviours: BehaviourLimits | None = None,
        join: JoinSettings | None = None,
        resolver: Resolver | None = None,
        fails: Callable[[Pending], bool] = lambda _pending: False,
        waits_for_schemas: bool = False,
        reading: Reading = Reading.JOINT,
        with_labels: bool = True,
    ) -> None:
        """fails: whether scoring fails for an event. reading: of the model. with_labels: whether labels are joined."""
        self.labels = Labels(join or JoinSettings(), EXAMPLES, Codec(LabeledExample))
        self.processor = ScoringProcessor(
            topics=TOPICS,
            codecs=_CODECS if resolver is None else codecs(resolver),
            model=Model("v1", tokenizer, reading=reading),
            windows=windows or WindowLimits(),
            behaviours=behaviours or BehaviourLimits(),
            limits=Limits(),
            labels=self.labels if with_labels else None,
            now_ms=lambda: NOW_MS + 7,
            waits_for_schemas=waits_for_schemas,
        )
        self.table: MemoryTable[Window] = MemoryTable(WINDOWS, self.processor.window_codec)
        self.processor.table = self.table
        self.pending: MemoryTable[PendingState] = MemoryTable(PENDING, pending_codec())
        self.estimates: MemoryTable[EstimatesState] = MemoryTable(ESTIMATES, estimates_codec())
        self.items: MemoryTable[ItemsState] = MemoryTable(ITEMS, items_codec())
        self.labels.pending, self.labels.estimates, self.labels.items = (
            self.pending,
            self.estimates,
            self.items,
        )
        self.tables: list[MemoryTable[Any]] = [self.table, self.pending, self.estimates, self.items]
        self.published = Published()
        self.reached: dict[TopicPartition, int] = {
            TopicPartition(topic, partition): 0
            for topic in (TOPICS.events, TOPICS.outcomes)
            for partition in range(4)
        }
        self._fails = fails
        self._units: deque[Unit] = deque()
        self._begins: deque[dict[TopicPartition, int]] = deque()
        self._numbers = 0
        self._made: dict[TopicPartition, int] = {}

    # --- records ----------------------------------------------------------------------------------------

    def record(
        self,
        what: BehaviorEvent | Outcome | bytes | None,
        *,
        topic: str = "",
        key: bytes | None = b"ann",
        timestamp: int = NOW_MS,
        partition: int = 0,
    ) -> Record:
        """Return the next record of a topic; events and outcomes are keyed by user, raw bytes by `key`."""
        value: bytes | None
        if isinstance(what, BehaviorEvent):
            topic, value, key = (
                topic or TOPICS.events,
                _CODECS.events.encode(what),
                what.user_id.encode(),
            )
        elif isinstance(what, Outcome):
            topic, value, key = topic or TOPICS.outcomes, _CODECS.outcomes.encode(what), what.user_id.encode()
        else:
            topic, value = topic or TOPICS.events, what
        where = TopicPartition(topic, partition)
        offset = self._made.get(where, 0)
        self._made[where] = offset + 1
        return Record(topic, partition, offset, timestamp, key, value)

    # --- delivery ---------------------------------------------------------------------------------------

    def deliver(self, *what: BehaviorEvent | Outcome | Record) -> Published:
        """Read these as one batch in its own unit, commit it, and return everything published so far."""
        records = [one if isinstance(one, Record) else self.record(one) for one in what]
        self.open()
        self.read(records)
        self.commit()
        return self.published

    def open(self) -> None:
        """Start another unit; batches are read into the newest one."""
        self._numbers += 1
        layers = {table.name: table.layers.open() for table in self.tables}
        self._begins.append(dict(self.reached))
        self._units.append(Unit(self._numbers, EPOCH, layers, self.reached))

    def read(self, records: Sequence[Record]) -> None:
        """Read a batch into the newest unit."""
        batch = batch_of(records)
        where = TopicPartition(batch.topic, batch.partition)
        work = self.processor.read(batch, self._units[-1])
        self._units[-1].add_batch(batch, work, None, 0)
        self.reached[where] = batch.next

    def commit(self) -> None:
        """Score and commit the oldest unit."""
        unit = self._units.popleft()
        self._begins.popleft()
        for work in unit.works:
            context: BatchContext = work.context
            self.processor.finish(work, self._score(context), unit)
            self.published.contexts.append(context)
            for pending in context.pending:
                if isinstance(pending.text, LateText):
                    self.published.late_texts.append(pending.text)
                else:
                    self.published.texts[pending.record.offset] = pending.text
        for output in unit.outputs:
            value = output.value or b""
            if output.topic == TOPICS.scores:
                self.published.scores.append(_SCORES.decode(value))
            elif output.topic == EXAMPLES:
                self.published.examples.append(_EXAMPLES.decode(value))
            else:
                self.published.dead_letters.append(_DEAD_LETTERS.decode(value))
                self.published.dead_letter_keys.append(output.key)
        for table in self.tables:
            table.commit_oldest(unit)

    def drop(self) -> None:
        """Drop every open unit, as after a rebalance; `reached` returns to the committed offsets."""
        if self._units:
            self.reached.update(self._begins[0])
        self._units.clear()
        self._begins.clear()
        for table in self.tables:
            table.layers.drop()

    def reached_by(self, record: Record) -> int:
        """Return the next offset of a record's partition."""
        return self.reached[TopicPartition(record.topic, record.partition)]

    @property
    def open_units(self) -> int:
        return len(self._units)

    def window(self, user_id: str = "ann", partition: int = 0) -> Window:
        """Return a user's window as of the newest unit."""
        return self.table.get_in(partition, user_id.encode()) or EMPTY

    def _score(self, context: BatchContext) -> ScoredTexts | None:
        if not context.pending:
            return None
        scores = np.array([score_of(pending.text) for pending in context.pending], np.float32)
        failed: dict[int, Exception] = {
            index: ModelOutputError("no score")
            for index, pending in enumerate(context.pending)
            if self._fails(pending)
        }
        scores[list(failed)] = np.nan
        return ScoredTexts(scores[:, 0], scores[:, 1], failed, "v1", "fp32")


def batch_of(records: Iterable[Record]) -> RecordBatch:
    """Return records of one partition as a batch."""
    found = list(records)
    first, last = found[0], found[-1]
    return RecordBatch(first.topic, first.partition, found, first.offset, last.offset + 1, EPOCH)
