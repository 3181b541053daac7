"""Measures this machine's speed on events of the range, to estimate a replay's duration before it starts."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from model.jobs import Job
from stream.exactly_once.kafka.store import PartitionStore
from stream.exactly_once.units.processor import Scorer
from stream.exactly_once.units.records import RecordBatch
from stream.replay.opening import Inputs
from stream.replay.ordering import EPOCH
from stream.replay.plan import ReplayPlan, Span
from stream.replay.state import ReplayState
from stream.replay.streams import Record
from stream.scoring.labels.labelling import Labels
from stream.scoring.processor import ScoringProcessor

_READ_RECORDS = 2_000
_CACHED_BYTES = 128 * 1024 * 1024
_SCORED_TEXTS = 192
_TIMED_ROUNDS = 2  # the first warms up


@dataclass(frozen=True, slots=True)
class Speed:
    """read_per_s: events read for the state per second, 0 if none. scored_per_s: events read and scored per second."""

    read_per_s: float
    scored_per_s: float

    def seconds_for(self, plan: ReplayPlan) -> float | None:
        """Return the estimated seconds for one process; None if nothing could be measured."""
        if not (self.read_per_s and self.scored_per_s):
            return None
        return plan.warm_up_records / self.read_per_s + plan.records / self.scored_per_s


def measure(
    inputs: Inputs, plan: ReplayPlan, processor: ScoringProcessor, labels: Labels | None, scorer: Scorer
) -> Speed:
    """Read events up to the middle of the largest partition's range, and score the texts of the last ones.

    Uses temporary tables, so pass a separate processor. Windows start empty at the sample and are shorter than real
    ones, so a range with long windows takes longer than estimated.
    """
    partition, part = max(plan.partitions.items(), key=lambda item: item[1].scored.size)
    middle = (part.scored.start + part.scored.end + 1) // 2
    span = Span(max(part.warm_up.start, middle - _READ_RECORDS), min(part.scored.end, middle + _SCORED_TEXTS))
    records = []
    with closing(inputs.stream(inputs.events, partition, span)) as stream:
        while stream.head() is not None:
            records.append(stream.take())
    with TemporaryDirectory() as folder:
        state = ReplayState(processor, labels, _CACHED_BYTES)
        store = PartitionStore(Path(folder) / "sample")
        try:
            state.open(partition, store)
            return _timed(state, processor, scorer, inputs.events, partition, records)
        finally:
            store.close()


def _timed(
    state: ReplayState,
    processor: ScoringProcessor,
    scorer: Scorer,
    topic: str,
    partition: int,
    records: Sequence[Record],
) -> Speed:
    unit = state.new_unit(partition, EPOCH, {})

    def batch(part: Sequence[Record]) -> RecordBatch:
        return RecordBatch(topic, partition, part, part[0].offset, part[-1].offset + 1, EPOCH)

    past, scored = records[:-_SCORED_TEXTS], records[-_SCORED_TEXTS:]
    if not past or not scored:
        past, scored = records[: len(records) // 2], records[len(records) // 2 :]
    if not past or not scored:
        return Speed(0.0, 0.0)
    began = time.perf_counter()
    processor.learn(batch(past), unit)
    read_s = (time.perf_counter() - began) / len(past)
    texts: Sequence[Job] = processor.read(batch(scored), unit).jobs
    if not texts:
        return Speed(1 / read_s, 0.0)
    for _ in range(_TIMED_ROUNDS):
        began = time.perf_counter()
        scorer.submit(texts).result()
        score_s = (time.perf_counter() - began) / len(texts)
    return Speed(1 / read_s, 1 / (read_s + score_s))
