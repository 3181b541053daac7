"""One partition of a replay, from where it was left to its end.

It is read in steps, each up to an offset of the events and then, for some, of the outcomes:

    learn     what was before the range: state alone, nothing is said
    recall    what this replay has published before, if the store does not hold it: state and estimates, nothing is said
    score     the range
    run out   what came after it, for the labels of the range's events
    tail      outcomes after the last event, for labels too

A batch is a unit of stream.exactly_once: a closed slice of that order with a layer of state of its own, so that the
next one is read and scored while it is committed. Committing a batch: its Parquet files are written; one transaction of
the partition's own producer holds its output, the next offset and the note with the plan and the counts; the files get
their names; the state goes to RocksDB. A batch that says nothing goes to RocksDB alone.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Protocol

from model.waiting import ScoredTexts
from schemas.records import DeadLetter, InfluenceScore, LabeledExample
from stream.exactly_once.processor import Scorer, Work
from stream.exactly_once.records import RecordBatch, TopicPartition
from stream.exactly_once.store import PartitionStore
from stream.exactly_once.transactions import TransactionWriter
from stream.exactly_once.unit import Unit
from stream.processor import ScoringProcessor
from stream.replay.notes import note_of
from stream.replay.ordering import EPOCH, MergedOrder
from stream.replay.outputs import Outputs, records_by_kind
from stream.replay.plan import COUNTS, Progress, ReplayPlan, Span
from stream.replay.recorded import RecordedScores
from stream.replay.state import PAST_RETENTION, ReplayState, positions_of

_CHUNK_RECORDS = 512
_MAX_BATCHES = 3  # one that is read, one that is scored, one that is committed
_COUNTED = {InfluenceScore: "scores", DeadLetter: "dead_letters", LabeledExample: "examples"}


class Reading(Enum):
    """What becomes of the events of a step."""

    LEARN = auto()
    RECALL = auto()
    SCORE = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """events_to, outcomes_to: where it ends; None: as many outcomes as its events need. told: whether it has output."""

    reading: Reading
    events_to: int
    outcomes_to: int | None = None
    told: bool = False


@dataclass(slots=True)
class Batch:
    """What is committed together. began, reached: offsets of events and outcomes, reached also of old scores."""

    unit: Unit
    step: Step
    opened_s: float
    began: tuple[int, int] = (0, 0)
    reached: tuple[int, int, int] = (0, 0, 0)
    works: "deque[tuple[Work, Future[ScoredTexts] | ScoredTexts | None]]" = field(default_factory=deque)
    records: int = 0
    texts: int = 0
    users_past_retention: int = 0
    closed: bool = False


class ReplayModel(Protocol):
    """What a score says of its model."""

    @property
    def version(self) -> str:
        """The version in the registry."""
        ...

    @property
    def dtype(self) -> str:
        """The type it is run in."""
        ...


class Sources(Protocol):
    """What a partition is read from."""

    order: MergedOrder

    @property
    def old_scores_next(self) -> int:
        """From where old scores must be read to go on from here."""
        ...

    def close(self) -> None:
        """Let go of the brokers."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What all partitions of a process share. commits: runs commits, one after the other. topics: events, outcomes."""

    plan: ReplayPlan
    topics: tuple[str, str]
    processor: ScoringProcessor
    state: ReplayState
    model: ReplayModel
    scorer: Scorer
    outputs: Outputs
    identity: bytes
    commits: Executor
    batch_records: int
    batch_s: float
    changed: Callable[[], None]
    clock: Callable[[], float] = time.monotonic


class PartitionReplay:
    """Reads, scores and commits; poll() and read() from one thread, until `done`."""

    def __init__(
        self,
        parts: Parts,
        partition: int,
        progress: Progress,
        *,
        sources: Sources,
        recorded: RecordedScores | None,
        store: PartitionStore,
        writer: TransactionWriter,
    ) -> None:
        """progress: what is committed. recorded: with labels, what was published, if the store does not hold it.

        in_flight: texts that wait for the model. learnt: records read for the state alone. ahead: texts scored and not
        committed yet.
        """
        self.partition = partition
        self.progress = progress
        self.in_flight = 0
        self.learnt = 0
        self.ahead = 0
        self._parts = parts
        self._sources, self._order = sources, sources.order
        self._recorded = recorded
        self._store = store
        self._writer = writer
        self._steps = deque(steps_of(parts.plan, partition, progress, recall=recorded is not None))
        self._batches: deque[Batch] = deque()  # oldest first
        self._open: Batch | None = None
        self._commit: Future[Progress] | None = None
        self._told_to = (progress.events_next, progress.outcomes_next)
        self._reached: dict[TopicPartition, int] = {}
        parts.state.open(partition, store)

    @property
    def done(self) -> bool:
        """Whether everything is read, scored and committed."""
        return self.progress.done

    @property
    def can_read(self) -> bool:
        """Whether read() would do anything."""
        return bool(self._steps) and (self._open is not None or len(self._batches) < _MAX_BATCHES)

    # --- reading ----------------------------------------------------------------------------------------

    def read(self) -> None:
        """Read up to a chunk of records and submit their texts. May wait for records."""
        while self._steps:
            step = self._steps[0]
            batch = self._next_records(step)
            if batch is not None:
                self._take(batch, step)
                return
            self._end_step(step)
            self._steps.popleft()

    def _next_records(self, step: Step) -> RecordBatch | None:
        taken = 0 if self._open is None else self._open.records
        room = min(_CHUNK_RECORDS, self._parts.batch_records - taken)
        found = self._order.next(step.events_to, room)
        if found is None and step.outcomes_to is not None:
            found = self._order.outcomes_to(step.outcomes_to, room)
        return found

    def _take(self, records: RecordBatch, step: Step) -> None:
        parts = self._parts
        batch = self._open or self._open_batch(step)
        self._reached[TopicPartition(parts.topics[1], self.partition)] = self._order.outcomes_next
        before = self._windows_of(records)
        of_events = records.topic == parts.topics[0]
        if step.reading is Reading.LEARN and (of_events or not step.told):
            work = parts.processor.learn(records, batch.unit)
        else:
            work = parts.processor.read(records, batch.unit)
        batch.users_past_retention += self._note_past_retention(batch.unit, before)
        batch.works.append((work, self._scores_for(work, step, batch)))
        batch.records += len(records.records)
        if step.reading is not Reading.SCORE:
            self.learnt += len(records.records)
        if batch.records >= parts.batch_records:
            self._close_batch()

    def _scores_for(self, work: Work, step: Step, batch: Batch) -> "Future[ScoredTexts] | ScoredTexts | None":
        if not work.jobs:
            return None
        if step.reading is Reading.RECALL and self._recorded is not None:
            return self._recorded.of(work.context.pending)
        future: Future[ScoredTexts] = self._parts.scorer.submit(work.jobs)
        self.in_flight += len(work.jobs)
        batch.texts += len(work.jobs)
        future.add_done_callback(lambda _: self._parts.changed())
        return future

    def _open_batch(self, step: Step) -> Batch:
        unit = self._parts.state.new_unit(self.partition, EPOCH, self._reached)
        batch = self._open = Batch(unit, step, self._parts.clock())
        self._batches.append(batch)
        return batch

    def _end_step(self, step: Step) -> None:
        """Close its last batch; one without records, if there are holes at its end that no batch has passed yet."""
        if step.told and self._open is None and self._told_to[0] < step.events_to:
            self._open_batch(step)
        self._close_batch()

    def _close_batch(self) -> None:
        batch, self._open = self._open, None
        if batch is None:
            return
        events_next = min(self._order.events_next, batch.step.events_to)
        batch.reached = (events_next, self._order.outcomes_next, self._sources.old_scores_next)
        if batch.step.told:
            batch.began, self._told_to = self._told_to, batch.reached[:2]
        batch.closed = True

    # --- retention --------------------------------------------------------------------------------------

    def _windows_of(self, records: RecordBatch) -> dict[bytes, Any]:
        """Return the windows before a batch of the range, by user, if any may lack a past; else nothing."""
        parts = self._parts
        plan = parts.plan.partitions[self.partition]
        in_range = plan.scored.start <= records.base < plan.scored.end
        if records.topic != parts.topics[0] or not in_range or not plan.may_lack_a_past:
            return {}
        keys = {record.key or b"" for record in records.records}
        return {key: parts.state.windows.get_in(self.partition, key) for key in keys}

    def _note_past_retention(self, unit: Unit, before: Mapping[bytes, Any]) -> int:
        """Note users whose window never was full: what came before may be past retention. Returns how many are new."""
        state, noted = self._parts.state, 0
        for key, window in before.items():
            if window is not None and window.floor is not None:
                continue  # it has overflowed, so all of it was read
            if (
                state.past_retention.get_in(self.partition, key)
                or state.windows.get_in(self.partition, key) is None
            ):
                continue
            unit.put(PAST_RETENTION, self.partition, key, True)
            noted += 1
        return noted

    # --- committing -------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Take in what the scorer and the commit thread have done. Raises what a commit or the scorer raised."""
        if self._open is not None and self._parts.clock() - self._open.opened_s >= self._parts.batch_s:
            self._close_batch()
        self._finish_scored()
        if self._commit is not None and self._commit.done():
            self._after_commit(self._commit.result())
        if self._commit is None:
            self._commit_next()

    def _finish_scored(self) -> None:
        for batch in self._batches:
            while batch.works:
                work, scores = batch.works[0]
                if isinstance(scores, Future):
                    if not scores.done():
                        return
                    self.in_flight -= len(work.jobs)
                    self.ahead += len(work.jobs)
                    scores = scores.result()
                batch.works.popleft()
                self._parts.processor.finish(work, scores, batch.unit)

    def _commit_next(self) -> None:
        if self._batches:
            batch = self._batches[0]
            if batch.closed and not batch.works:
                self._submit(lambda: self._committed(batch))
        elif not self._steps and not self.progress.done:
            self._submit(self._completed)

    def _submit(self, commit: Callable[[], Progress]) -> None:
        self._commit = self._parts.commits.submit(commit)
        self._commit.add_done_callback(lambda _: self._parts.changed())

    def _after_commit(self, progress: Progress) -> None:
        self._commit = None
        self.progress = progress
        if self._batches and not progress.done:
            batch = self._batches.popleft()
            if batch.step.reading is Reading.SCORE:
                self.ahead -= batch.texts
            self._parts.state.commit_oldest(self.partition)

    def _committed(self, batch: Batch) -> Progress:
        """Commit a batch, on the commit thread."""
        parts = self._parts
        progress = self._tell(batch) if batch.step.told else self.progress
        self._store.write(parts.state.changes(batch.unit), positions_of(parts.plan, *batch.reached))
        return progress

    def _tell(self, batch: Batch) -> Progress:
        events_next, outcomes_next, _ = batch.reached
        said, outputs = batch.unit.outputs, self._parts.outputs
        records = records_by_kind(said)
        counts = Counter({_COUNTED[kind]: len(found) for kind, found in records.items()})
        counts["users_past_retention"] = batch.users_past_retention
        progress = Progress(events_next, outcomes_next, _added(self.progress.counts, counts))
        if outputs.parquet is not None:
            if batch.step.reading is Reading.SCORE:
                records.setdefault(
                    InfluenceScore, []
                )  # also where all were dead letters: the files tell what was read
            events, outcomes = Span(batch.began[0], events_next), Span(batch.began[1], outcomes_next)
            file = outputs.parquet.write(self.partition, events, outcomes, records)
            progress = replace(progress, file=file)
        self._write(progress, outputs.topic.encode(said) if outputs.topic is not None else [])
        if outputs.parquet is not None and progress.file:
            outputs.parquet.publish(progress.file)
        return progress

    def _completed(self) -> Progress:
        """Note that the partition is done, on the commit thread; what should be there is."""
        parts = self._parts
        if parts.outputs.parquet is not None:
            parts.outputs.parquet.settle(self.partition, self.progress.file)
            parts.outputs.parquet.check(self.partition, parts.plan.partitions[self.partition].scored)
        progress = replace(self.progress, done=True)
        self._write(progress, [])
        return progress

    def _write(self, progress: Progress, outputs: Sequence[Any]) -> None:
        where = TopicPartition(self._parts.topics[0], self.partition)
        note = note_of(self._parts.plan, self.partition, progress)
        self._writer.commit(outputs, {where: progress.events_next}, self._parts.identity, {}, note)

    # --- ending -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go: what is not committed is forgotten; waits for a commit under way. The store is closed."""
        for batch in self._batches:
            for _work, scores in batch.works:
                if isinstance(scores, Future):
                    scores.cancel()
        if self._commit is not None:
            self._commit.exception()
        self._parts.state.close(self.partition)
        self._sources.close()
        self._store.close()


def steps_of(plan: ReplayPlan, partition: int, progress: Progress, *, recall: bool) -> Iterator[Step]:
    """Yield the steps of a partition, those that are done as well: their records are behind the store's position.

    recall: whether estimates of what was published are needed and not in the store.
    """
    part = plan.partitions[partition]
    yield Step(Reading.LEARN, part.scored.start)
    again = Reading.RECALL if recall else Reading.LEARN
    yield Step(again, min(progress.events_next, part.scored.end))
    yield Step(Reading.LEARN, progress.events_next, progress.outcomes_next)
    yield Step(Reading.SCORE, part.scored.end, told=True)
    if plan.with_labels:
        yield Step(Reading.LEARN, part.run_out.end, part.outcomes.end, told=True)


def _added(before: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: before.get(name, 0) + more.get(name, 0) for name in COUNTS}
