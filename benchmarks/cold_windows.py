"""CPU time per event if the user's window is not cached: `python -m benchmarks.cold_windows [--profile]`.

Runs the processor with label join, codecs and tables on RocksDB, without Kafka and with a free scorer. Users have full
windows of films. Each event of a batch belongs to another user, and so does each outcome. Measures the CPU time of the
process, including the commit to RocksDB, and takes the minimum of several batches. Warm: all values are cached decoded;
cold: no value is.
"""

import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from benchmarks.rows import Row
from model.reading import Reading
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from model.waiting import ScoredTexts
from schemas.records import BehaviorEvent, Outcome
from schemas.wire import Codec
from stream.assembly import make_labels, make_processor
from stream.exactly_once import RecordBatch, Unit
from stream.exactly_once.kafka.store import PartitionStore
from stream.exactly_once.units.layers import Layers
from stream.exactly_once.units.records import Epoch, TopicPartition
from stream.replay.streams import Record
from stream.scoring.labels.state import ESTIMATES, ITEMS, PENDING, estimates_codec, items_codec, pending_codec
from stream.scoring.processor import WINDOWS
from stream.settings import Settings
from sway.base_model import minilm_dir
from sway.demo import movielens

V = TypeVar("V")
Pair = tuple[RecordBatch, RecordBatch]
"""One event of each user, and the outcomes of these events."""

MAX_RATIO = 1.3
USERS = 250
_BEHAVIOURS = 50
_ROUNDS = 8
_STEP_MS = 10
_START_MS = 1_700_000_000_000
_EPOCH = Epoch(1, "bench")
_UNLIMITED = 2**40


class Table(Generic[V]):
    """A table of the worker without Faust: state layers over a store."""

    def __init__(self, name: str, codec: Any, store: PartitionStore) -> None:
        self.name = name
        self._codec = codec
        self._store = store
        self.layers: Layers[tuple[int, bytes], V] = Layers(
            self._committed, _UNLIMITED, lambda _key, _value: 1
        )

    def get_in(self, partition: int, key: bytes) -> V | None:
        """Return a value as seen by the open unit."""
        return self.layers.get((partition, key))

    def changes(self, unit: Unit) -> Iterator[tuple[str, bytes, bytes | None]]:
        """Yield the encoded changes of a unit."""
        for (_, key), value in unit.layers[self.name].items():
            yield self.name, key, None if value is None else self._codec.dumps(value)

    def disable_cache(self) -> None:
        """Disable the cache: read each value from the store from now on."""
        self.layers.drop()
        self.layers.max_cached_bytes = 0

    def _committed(self, where: tuple[int, bytes]) -> V | None:
        raw = self._store.get(self.name, where[1])
        return None if raw is None else self._codec.loads(raw)


@dataclass(slots=True)
class Model:
    """The parts of a model that the processor uses."""

    tokenizer: BehaviourTokenizer
    reading: Reading
    version: str = "free"
    lam: float = 0.5


class Cost(NamedTuple):
    """CPU time in microseconds per event and per outcome."""

    event: float
    outcome: float

    @property
    def both(self) -> float:
        """CPU time of an event and its outcome together."""
        return self.event + self.outcome


class Partition:
    """A processor and the state of one partition. examples: whether to write examples, which need snapshots."""

    def __init__(self, store: PartitionStore, model: Model, *, examples: bool) -> None:
        settings = Settings()
        labels = make_labels(settings, examples=examples)
        self._processor = make_processor(settings, model, labels)
        self._store = store
        self.tables: list[Table[Any]] = [
            Table(WINDOWS, self._processor.window_codec, store),
            Table(PENDING, pending_codec(), store),
            Table(ESTIMATES, estimates_codec(), store),
            Table(ITEMS, items_codec(), store),
        ]
        self._processor.table = self.tables[0]
        labels.pending, labels.estimates, labels.items = self.tables[1:]
        self._reached = {TopicPartition(settings.topics.outcomes, 0): 0}
        self._units = 0

    def deliver(self, batch: RecordBatch) -> None:
        """Read a batch as one unit, score it and commit it."""
        self._units += 1
        layers = {table.name: table.layers.open() for table in self.tables}
        unit = Unit(self._units, _EPOCH, layers, self._reached)
        work = self._processor.read(batch, unit)
        zeros = np.zeros(len(work.jobs), np.float32)
        self._processor.finish(work, ScoredTexts(zeros, zeros, {}, "free", "fp32"), unit)
        self._store.write([change for table in self.tables for change in table.changes(unit)], {})
        for table in self.tables:
            table.layers.commit_oldest()


def load() -> Iterator[Pair]:
    """Yield rounds of one event and one outcome per user, endlessly."""
    topics, codecs = Settings().topics, (Codec(BehaviorEvent), Codec(Outcome))
    films = cycle(event for event, _ in movielens.rated_events(movielens.fetch()))
    number = 0
    while True:
        events, outcomes = [], []
        for user, film in enumerate(islice(films, USERS)):
            now, who = _START_MS + number * _STEP_MS, f"user-{user:05}"
            events.append(BehaviorEvent(f"e{number:08}", who, "watch", now, film.item_id, film.item_text))
            outcomes.append(Outcome(f"e{number:08}", who, number * 7919 % 5 / 4, now))
            number += 1
        yield (
            _batch(topics.events, number, [(one.user_id, codecs[0].encode(one)) for one in events]),
            _batch(topics.outcomes, number, [(one.user_id, codecs[1].encode(one)) for one in outcomes]),
        )


def _batch(topic: str, end: int, values: Sequence[tuple[str, bytes]]) -> RecordBatch:
    first, now = end - len(values), _START_MS + end * _STEP_MS
    records = [
        Record(topic, 0, first + place, now, who.encode(), value) for place, (who, value) in enumerate(values)
    ]
    return RecordBatch(topic, 0, records, first, end, _EPOCH)


def costs(
    tokenizer: BehaviourTokenizer,
    reading: Reading,
    *,
    examples: bool = True,
    profiler: cProfile.Profile | None = None,
) -> tuple[Cost, Cost]:
    """Fill the windows; return the warm and the cold cost. profiler: enabled during the cold measurement."""
    with tempfile.TemporaryDirectory() as folder:
        store = PartitionStore(Path(folder) / "store")
        partition = Partition(store, Model(tokenizer, reading), examples=examples)
        rounds = load()
        for pair in islice(rounds, _BEHAVIOURS):
            for batch in pair:
                partition.deliver(batch)
        warm = _measure(partition.deliver, rounds)
        for table in partition.tables:
            table.disable_cache()
        with profiler or nullcontext():
            cold = _measure(partition.deliver, rounds)
        store.close()
    return warm, cold


def _measure(deliver: Callable[[RecordBatch], None], rounds: Iterator[Pair]) -> Cost:
    cost_us: list[list[float]] = [[], []]
    for pair in islice(rounds, _ROUNDS):
        for which, batch in enumerate(pair):
            began_s = time.process_time()
            deliver(batch)
            cost_us[which].append((time.process_time() - began_s) / USERS * 1e6)
    return Cost(min(cost_us[0]), min(cost_us[1]))


def rows() -> list[Row]:
    """Measure events and outcomes with snapshots, for both readings, against a worker without snapshots."""
    tokenizer = BehaviourTokenizer.from_folder(minilm_dir(), TextSettings())
    warm, cold = costs(tokenizer, Reading.LATE)
    joint_warm, joint_cold = costs(tokenizer, Reading.JOINT)
    plain_warm, plain_cold = costs(tokenizer, Reading.JOINT, examples=False)
    peer = "joint reading, without examples and snapshots"
    return [
        Row.compared(
            "event and outcome, cold, late reading",
            cold.both,
            "µs",
            peer,
            plain_cold.both,
            at_most=MAX_RATIO,
        ),
        Row.compared(
            "event and outcome, cold, joint reading",
            joint_cold.both,
            "µs",
            peer,
            plain_cold.both,
            at_most=MAX_RATIO,
        ),
        Row.compared("event and outcome, warm, late reading", warm.both, "µs", peer, plain_warm.both),
        Row.compared("event and outcome, warm, joint reading", joint_warm.both, "µs", peer, plain_warm.both),
        Row.compared("event, cold, late reading", cold.event, "µs", peer, plain_cold.event),
        Row.compared("outcome, cold, late reading", cold.outcome, "µs", peer, plain_cold.outcome),
    ]


def main() -> None:
    """Print the rows, or the profile of cold events with the late reading."""
    if sys.argv[1:] == ["--profile"]:
        profiler = cProfile.Profile()
        tokenizer = BehaviourTokenizer.from_folder(minilm_dir(), TextSettings())
        costs(tokenizer, Reading.LATE, profiler=profiler)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)
        return
    for row in rows():
        met = {None: "", True: f"aim {row.aim}, met", False: f"aim {row.aim}, MISSED"}[row.met]
        print(
            f"{row.name:40} {row.value:6.0f} {row.unit}   {row.peer}: {row.peer_value:6.0f}   {row.ratio:.2f} {met}"
        )


if __name__ == "__main__":
    main()
