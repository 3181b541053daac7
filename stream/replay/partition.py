"""One partition of a replay, from where it was left to its end: read, scored, and committed in batches."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from model.waiting import ScoredTexts
from stream.exactly_once.kafka.store import PartitionStore
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.records import RecordBatch, TopicPartition
from stream.exactly_once.units.unit import Work
from stream.replay.batches import Batch, Parts, Sources
from stream.replay.committer import BatchCommitter
from stream.replay.ordering import EPOCH, Room
from stream.replay.plan import Progress
from stream.replay.recorded import RecordedScores
from stream.replay.retention import PastRetention
from stream.replay.steps import Reading, Step, steps_of

_CHUNK_RECORDS = 512
_MAX_BATCHES = 3  # one that is read, one that is scored, one that is committed


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

        in_flight: texts that wait for the model. learnt: records read for the state alone.
        """
        self.partition = partition
        self.progress = progress
        self.in_flight = 0
        self.learnt = 0
        self._parts = parts
        self._sources, self._order = sources, sources.order
        self._recorded = recorded
        self._store = store
        self._committer = BatchCommitter(parts, partition, store, writer)
        self._past = PastRetention(partition, parts.plan.partitions[partition], parts.state, parts.topics[0])
        self._steps = deque(steps_of(parts.plan, partition, progress, recall=recorded is not None))
        self._batches: deque[Batch] = deque()  # oldest first
        self._open: Batch | None = None
        self._commit: Future[Progress] | None = None
        self._told_to = (progress.events_next, progress.outcomes_next)
        self._uncounted = -progress.counts.get(
            "users_past_retention", 0
        )  # + those who are met again while re-reading
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

    @property
    def uncommitted(self) -> int:
        """How many texts were given to the scorer and are not committed, scored or not."""
        return sum(batch.texts for batch in self._batches)

    # --- reading ----------------------------------------------------------------------------------------

    def read(self) -> None:
        """Read up to a chunk of records and submit their texts. May wait for records."""
        while self._steps:
            step = self._steps[0]
            room = self._parts.room() if self._open is None else self._open.room
            records = self._next_records(step, room)
            if records is not None:
                self._take(records, step, self._open or self._open_batch(step, room))
                return
            self._end_step(step)
            self._steps.popleft()

    def _next_records(self, step: Step, room: Room) -> RecordBatch | None:
        found = self._order.next(step.events_to, _CHUNK_RECORDS, room)
        if found is None and step.outcomes_to is not None:
            found = self._order.outcomes_to(step.outcomes_to, _CHUNK_RECORDS, room)
        return found

    def _take(self, records: RecordBatch, step: Step, batch: Batch) -> None:
        parts = self._parts
        self._reached[TopicPartition(parts.topics[1], self.partition)] = self._order.outcomes_next
        before = self._past.before(records)
        of_events = records.topic == parts.topics[0]
        if step.reading is Reading.LEARN and (of_events or not step.told):
            work = parts.processor.learn(records, batch.unit)
        else:
            work = parts.processor.read(records, batch.unit)
        noted = self._past.note(batch.unit, before)
        if step.told:
            batch.users_past_retention += noted
        else:
            self._uncounted += noted
        batch.works.append((work, self._scores_for(work, step, batch)))
        if step.reading is not Reading.SCORE:
            self.learnt += len(records.records)
        if not batch.room.is_left:
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

    def _open_batch(self, step: Step, room: Room) -> Batch:
        unit = self._parts.state.new_unit(self.partition, EPOCH, self._reached)
        batch = self._open = Batch(unit, step, self._parts.clock(), room)
        self._batches.append(batch)
        return batch

    def _end_step(self, step: Step) -> None:
        """Close its last batch; one without records, if there are holes at its end that no batch has passed yet."""
        if step.told and self._open is None and self._told_to[0] < step.events_to:
            self._open_batch(step, self._parts.room())
        self._close_batch()

    def _close_batch(self) -> None:
        batch, self._open = self._open, None
        if batch is None:
            return
        events_next = min(self._order.events_next, batch.step.events_to)
        batch.reached = (events_next, self._order.outcomes_next, self._sources.old_scores_next)
        if batch.step.told:
            batch.began, self._told_to = self._told_to, batch.reached[:2]
            # More than were counted, if retention has taken more meanwhile.
            batch.users_past_retention += max(0, self._uncounted)
            self._uncounted = min(0, self._uncounted)
        batch.closed = True

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
                    scores = scores.result()
                batch.works.popleft()
                self._parts.processor.finish(work, scores, batch.unit)

    def _commit_next(self) -> None:
        if self._batches:
            batch = self._batches[0]
            if batch.closed and not batch.works:
                self._submit(lambda: self._committer.commit(batch, self.progress))
        elif not self._steps and not self.progress.done:
            self._submit(lambda: self._committer.complete(self.progress))

    def _submit(self, commit: Callable[[], Progress]) -> None:
        self._commit = self._parts.commits.submit(commit)
        self._commit.add_done_callback(lambda _: self._parts.changed())

    def _after_commit(self, progress: Progress) -> None:
        self._commit = None
        self.progress = progress
        if self._batches and not progress.done:
            self._batches.popleft()
            self._parts.state.commit_oldest(self.partition)

    # --- ending -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go: what is not committed is forgotten. The store is closed.

        Waits for a commit under way, a few transaction time-outs at most.
        """
        for batch in self._batches:
            for _work, scores in batch.works:
                if isinstance(scores, Future):
                    scores.cancel()
        if self._commit is not None:
            self._committer.give_up()
            self._commit.exception()
        self._parts.state.close(self.partition)
        self._sources.close()
        self._committer.close()
        self._store.close()
