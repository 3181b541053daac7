"""One partition of a replay without Kafka: the real processor, state, store and Parquet files, and crashes anywhere.

The topics, the scorer and Kafka's transactions are in memory. A crash is raised at the n-th crash point since the
partition was opened; the partition is then opened again, as by another process.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import chain, cycle
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow.parquet as pq

from model.errors import ModelOutputError
from model.tokens import BehaviourTokenizer, EncodedText
from model.waiting import ScoredTexts
from schemas.records import DeadLetter, InfluenceScore, LabeledExample
from schemas.validate import Limits
from schemas.wire import Codec
from stream.exactly_once.units.records import Output, TopicPartition
from stream.replay.batches import ReplayContext
from stream.replay.journal import Journal
from stream.replay.notes import decode_progress, encode_progress
from stream.replay.opening import Inputs, open_partition
from stream.replay.outputs import Outputs, PassThroughEncoder, TopicNames, TopicOutput
from stream.replay.parquet import DEAD_LETTERS, EXAMPLES, SCORES, FileName, ParquetFolder
from stream.replay.partition import PartitionReplay
from stream.replay.plan import PartitionPlan, Progress, ReplayPlan, Span, first_progress
from stream.replay.state import ReplayState
from stream.replay.streams import Record, RecordStream
from stream.scoring.behaviours import BehaviourLimits
from stream.scoring.labels.labelling import Labels
from stream.scoring.labels.rules import JoinSettings
from stream.scoring.processor import Codecs, ScoringProcessor
from stream.scoring.windows import WindowLimits
from tests.support.memory_streams import MemoryStream
from tests.support.processing import EXAMPLES as LIVE_EXAMPLES
from tests.support.processing import NOW_MS, TOPICS, Model, codecs, score_of

T = TypeVar("T")

VERSION = "v1"
TURNS = ("poll", "read", "score", "time")
BATCH_S = 30.0
_MOST_TURNS = 3_000
_ROUND = ("poll", "read", "score")
_LIVE = codecs()
_SCORES: Codec[InfluenceScore] = Codec(InfluenceScore)
_ENCODERS: Mapping[Any, Codec[Any]] = {
    kind: Codec(kind) for kind in (InfluenceScore, DeadLetter, LabeledExample)
}


class Crash(Exception):  # noqa: N818 - no error of ours
    """The simulated end of the process."""


class Crashes:
    """The crash points at which the process ends. points: for each of its first lives, how many it passes before."""

    def __init__(self, points: Iterable[int]) -> None:
        self._lives = deque(points)
        self._left: int | None = None

    def begin(self) -> None:
        """Begin another life."""
        self._left = self._lives.popleft() if self._lives else None

    def at(self) -> None:
        """Pass a crash point. Raises Crash if the process ends at this one."""
        if self._left == 0:
            raise Crash
        if self._left is not None:
            self._left -= 1


@dataclass(slots=True)
class Kafka:
    """The committed state: offset and metadata of the partition, and the records in the replay's topics."""

    replay_id: str
    committed: tuple[int, str]
    produced: list[Output] = field(default_factory=list)

    def progress(self) -> Progress:
        return decode_progress(self.replay_id, {0: self.committed})[1][0]

    def plan(self) -> PartitionPlan:
        return decode_progress(self.replay_id, {0: self.committed})[0].partitions[0]


@dataclass(slots=True)
class MemoryWriter:
    """A writer whose transaction is one assignment; the process may crash right before and right after it."""

    kafka: Kafka
    crashes: Crashes

    def init(self, timeout_s: float) -> None:
        """Do nothing: there is no other producer to fence."""

    def give_up(self) -> None:
        """Do nothing: no commit fails."""

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def commit(
        self,
        outputs: Sequence[Output],
        offsets: Mapping[TopicPartition, int],
        identity: bytes,
        tracked: Mapping[TopicPartition, int],
        note: str,
    ) -> dict[TopicPartition, int]:
        """Make outputs, offset and metadata visible together."""
        ((where, offset),) = offsets.items()
        assert where == TopicPartition(TOPICS.events, 0)
        self.crashes.at()
        self.kafka.committed = offset, note
        self.kafka.produced += outputs
        self.crashes.at()
        return {}


@dataclass(slots=True)
class MemoryJournal:
    """An in-memory replacement for stream.replay.journal.Journal."""

    kafka: Kafka
    crashes: Crashes

    def standing_of(self, partition: int) -> tuple[PartitionPlan, Progress]:
        """Return the partition's plan and progress."""
        assert partition == 0
        return self.kafka.plan(), self.kafka.progress()

    def writer(self, what: str) -> MemoryWriter:
        """Return the writer of partition 0."""
        assert what == "0"
        return MemoryWriter(self.kafka, self.crashes)


@dataclass(frozen=True, slots=True)
class MemoryInputs(Inputs):
    """Topics in memory."""

    records: Mapping[str, Sequence[Record]] = field(default_factory=dict)

    def stream(
        self, topic: str, partition: int, span: Span, on_read: Callable[[Sequence[Any]], None] | None = None
    ) -> RecordStream:
        """Return a stream over a span of a topic."""
        return cast(RecordStream, MemoryStream(self.records[topic], span))

    def retained(self, topic: str, partition: int, consumer: Any = None) -> Span:
        """Return the whole topic: retention has removed nothing since the plan was made."""
        return Span(0, 1 + max((record.offset for record in self.records[topic]), default=-1))


class CrashingFolder(ParquetFolder):
    """A folder with crash points: before and after writing, and before, in the middle of and after renaming."""

    def __init__(self, folder: Path, crashes: Crashes) -> None:
        super().__init__(folder)
        self._crashes = crashes

    def write(
        self, partition: int, events: Span, outcomes: Span, records: Mapping[Any, Sequence[Any]]
    ) -> str:
        """Write the files, with a crash point before and after."""
        self._crashes.at()
        name = super().write(partition, events, outcomes, records)
        self._crashes.at()
        return name

    def publish(self, pending: str) -> None:
        """Rename the files, with crash points before, after the first file, and at the end."""
        self._crashes.at()
        first, name = self.folder / EXAMPLES / pending, FileName.parse(pending)
        if first.exists() and name is not None:
            first.rename(first.with_name(name.final))
        self._crashes.at()
        super().publish(pending)
        self._crashes.at()


class SynchronousExecutor(Executor):
    """Runs each call before `submit` returns."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Run the call and return its finished future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:
            future.set_exception(exc)
        return future


class ChecksumScorer:
    """Scores texts by checksums, as tests/support/processing.py does, when work() is called."""

    def __init__(self, fails: Callable[[EncodedText], bool]) -> None:
        self._fails = fails
        self._waiting: deque[tuple[Future[ScoredTexts], Sequence[EncodedText]]] = deque()

    def submit(self, jobs: Sequence[EncodedText]) -> "Future[ScoredTexts]":
        """Queue texts and return the future of their scores."""
        future: Future[ScoredTexts] = Future()
        self._waiting.append((future, jobs))
        return future

    def work(self) -> None:
        """Score the oldest queued texts."""
        if not self._waiting:
            return
        future, jobs = self._waiting.popleft()
        if future.cancelled():
            return
        scores = np.array([score_of(text) for text in jobs], np.float32)
        failed: dict[int, Exception] = {
            index: ModelOutputError("no score") for index, text in enumerate(jobs) if self._fails(text)
        }
        scores[list(failed)] = np.nan
        future.set_result(ScoredTexts(scores[:, 0], scores[:, 1], failed, VERSION, "fp32"))


@dataclass(frozen=True, slots=True)
class _ModelName:
    version: str = VERSION
    dtype: str = "fp32"


@dataclass(frozen=True, slots=True)
class Core:
    """The settings that determine texts and labels, equal in the live run and its replay."""

    tokenizer: BehaviourTokenizer
    windows: WindowLimits
    behaviours: BehaviourLimits
    join: JoinSettings


class ReplayedPartition:
    """Replays partition 0 in its own folder; run() continues after each crash until the partition is done."""

    def __init__(
        self,
        folder: Path,
        core: Core,
        plan: ReplayPlan,
        topics: Mapping[str, Sequence[Record]],
        *,
        batch_records: int,
        batch_bytes: int = 2**30,
        turns: Sequence[str] = (),
        crashes: Sequence[int] = (),
        store_lost_after: Sequence[bool] = (),
        fails: Callable[[EncodedText], bool] = lambda _text: False,
    ) -> None:
        """turns: the first steps, of TURNS. crashes: as in Crashes.

        store_lost_after: for each crash, whether the partition's store is lost with it.
        """
        self.kafka = Kafka(
            plan.replay_id,
            (plan.partitions[0].scored.start, encode_progress(plan, 0, first_progress(plan.partitions[0]))),
        )
        self.crashes = Crashes(crashes)
        self.output = CrashingFolder(folder / "output", self.crashes)
        self.lives = 0
        self.opened_at: list[tuple[int, int]] = []
        """For each life with work to do: its first event offset, and the number of warm-up records it read."""
        self._plan = plan
        self._core = core
        self._inputs = MemoryInputs(
            {}, "group", TOPICS.events, TOPICS.outcomes, TOPICS.scores, 1.0, records=topics
        )
        self._folder = folder
        self._batch_records, self._batch_bytes = batch_records, batch_bytes
        self._turns: Iterator[str] = chain(turns, cycle(_ROUND))
        self._store_lost_after = deque(store_lost_after)
        self._scorer = ChecksumScorer(fails)
        self._now_s = 0.0

    def run(self) -> "ReplayedPartition":
        """Open, work and crash until the partition is done."""
        while True:
            self.lives += 1
            self.crashes.begin()
            try:
                if (replay := self._open()) is None:
                    return self
                found = replay.progress.events_next
                try:
                    self._work(replay)
                finally:
                    self.opened_at.append((found, replay.learnt))
                    replay.close()
            except Crash:
                if self._store_lost_after and self._store_lost_after.popleft():
                    shutil.rmtree(self._folder / "partition-00000", ignore_errors=True)

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return the published rows of SCORES, DEAD_LETTERS or EXAMPLES, in the order of the files."""
        names = [FileName.parse(path.name) for path in (self.output.folder / kind).glob("[0-9]*")]
        final = sorted((one for one in names if one is not None), key=lambda one: (one.events, one.outcomes))
        paths = [self.output.folder / kind / one.final for one in final]
        return [row for path in paths for row in pq.read_table(path).to_pylist()]

    def published(self) -> dict[str, list[dict[str, Any]]]:
        """Return all rows by kind; dead letters are sorted by source, since scoring failures come last in a batch."""
        found = {kind: self.rows(kind) for kind in (SCORES, DEAD_LETTERS, EXAMPLES)}
        found[DEAD_LETTERS].sort(key=lambda row: (row["source_topic"], row["source_offset"]))
        return found

    def produced(self, topic: str) -> list[bytes | None]:
        """Return the committed values of one of the replay's topics."""
        return [one.value for one in self.kafka.produced if one.topic == topic]

    def _work(self, replay: PartitionReplay) -> None:
        for _ in range(_MOST_TURNS):
            if replay.done:
                return
            self.crashes.at()
            match next(self._turns):
                case "read" if replay.can_read:
                    replay.read()
                case "poll":
                    replay.poll()
                case "score":
                    self._scorer.work()
                case "time":
                    self._now_s += BATCH_S
        raise AssertionError(f"not done after {_MOST_TURNS} turns")

    def _open(self) -> PartitionReplay | None:
        core, as_records = self._core, PassThroughEncoder()
        labels = Labels(core.join, LIVE_EXAMPLES, as_records, examples=self._plan.with_labels)
        processor = ScoringProcessor(
            topics=TOPICS,
            codecs=Codecs(_LIVE.events, _LIVE.outcomes, as_records, as_records, as_records),
            model=Model(VERSION, core.tokenizer),
            windows=core.windows,
            behaviours=core.behaviours,
            limits=Limits(),
            labels=labels,
            now_ms=lambda: NOW_MS + 7,
        )
        parts = ReplayContext(
            plan=self._plan,
            topics=(TOPICS.events, TOPICS.outcomes),
            processor=processor,
            state=ReplayState(processor, labels, max_cached_bytes=20_000),
            model=_ModelName(),
            scorer=self._scorer,
            outputs=Outputs(TopicOutput(TopicNames("again"), _ENCODERS), self.output),
            identity=b"",
            commits=SynchronousExecutor(),
            batch_records=self._batch_records,
            batch_bytes=self._batch_bytes,
            batch_s=BATCH_S,
            changed=lambda: None,
            clock=lambda: self._now_s,
        )
        journal = cast(Journal, MemoryJournal(self.kafka, self.crashes))
        return open_partition(
            parts,
            self._inputs,
            journal,
            0,
            folder=self._folder,
            decode_score=_SCORES,
            connect_timeout_s=1.0,
        )
