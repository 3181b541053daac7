"""Replays one partition from its committed progress to its end: reads, scores and commits it in batches."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from model.waiting import ScoredTexts
from stream.exactly_once.kafka.store import PartitionStore
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.records import RecordBatch, TopicPartition
from stream.exactly_once.units.unit import Work
from stream.replay.batches import Batch, ReplayContext, Sources
from stream.replay.committer import BatchCommitter
from stream.replay.ordering import EPOCH, Room
from stream.replay.plan import Progress
from stream.replay.recorded import RecordedScores
from stream.replay.retention import PastRetention
from stream.replay.steps import Reading, Step, steps_of

_CHUNK_RECORDS = 512
_MAX_BATCHES = 3  # one being read, one being scored, one being committed


class PartitionReplay:
    """Reads, scores and commits; call poll() and read() from one thread until `done`."""

    def __init__(
        self,
        context: ReplayContext,
        partition: int,
        progress: Progress,
        *,
        sources: Sources,
        recorded: RecordedScores | None,
        store: PartitionStore,
        writer: TransactionWriter,
    ) -> None:
        """progress: committed progress. recorded: with labels, the published scores if the store lacks them.

        in_flight: number of texts waiting for the model. learnt: number of records read only for the state.
        """
        self.partition = partition
        self.progress = progress
        self.in_flight = 0
        self.learnt = 0
        self._context = context
        self._sources, self._order = sources, sources.order
        self._recorded = recorded
        self._store = store
        self._committer = BatchCommitter(context, partition, store, writer)
        self._past_retention = PastRetention(
            partition, context.plan.partitions[partition], context.state, context.topics[0]
        )
        self._steps = deque(steps_of(context.plan, partition, progress, recall=recorded is not None))
        self._batches: deque[Batch] = deque()  # oldest first
        self._open: Batch | None = None
        self._commit: Future[Progress] | None = None
        self._output_to = (progress.events_next, progress.outcomes_next)
        # Users counted in the committed progress appear again while their records are read again.
        self._uncounted = -progress.counts.get("users_past_retention", 0)
        self._reached: dict[TopicPartition, int] = {}
        context.state.open(partition, store)

    @property
    def done(self) -> bool:
        """Whether everything has been read, scored and committed."""
        return self.progress.done

    @property
    def can_read(self) -> bool:
        """Whether read() has something to do."""
        return bool(self._steps) and (self._open is not None or len(self._batches) < _MAX_BATCHES)

    @property
    def uncommitted(self) -> int:
        """Number of texts submitted to the scorer and not committed, scored or not."""
        return sum(batch.texts for batch in self._batches)

    # --- reading ----------------------------------------------------------------------------------------

    def read(self) -> None:
        """Read one chunk of records and submit their texts. May block for records."""
        while self._steps:
            step = self._steps[0]
            room = self._context.room() if self._open is None else self._open.room
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
        context = self._context
        self._reached[TopicPartition(context.topics[1], self.partition)] = self._order.outcomes_next
        before = self._past_retention.before(records)
        of_events = records.topic == context.topics[0]
        if step.reading is Reading.LEARN and (of_events or not step.has_output):
            work = context.processor.learn(records, batch.unit)
        else:
            work = context.processor.read(records, batch.unit)
        noted = self._past_retention.count_new_users(batch.unit, before)
        if step.has_output:
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
        future: Future[ScoredTexts] = self._context.scorer.submit(work.jobs)
        self.in_flight += len(work.jobs)
        batch.texts += len(work.jobs)
        future.add_done_callback(lambda _: self._context.changed())
        return future

    def _open_batch(self, step: Step, room: Room) -> Batch:
        unit = self._context.state.new_unit(self.partition, EPOCH, self._reached)
        batch = self._open = Batch(unit, step, self._context.clock(), room)
        self._batches.append(batch)
        return batch

    def _end_step(self, step: Step) -> None:
        """Close the step's last batch; it has no records if only offsets without records remain."""
        if step.has_output and self._open is None and self._output_to[0] < step.events_to:
            self._open_batch(step, self._context.room())
        self._close_batch()

    def _close_batch(self) -> None:
        batch, self._open = self._open, None
        if batch is None:
            return
        events_next = min(self._order.events_next, batch.step.events_to)
        batch.reached = (events_next, self._order.outcomes_next, self._sources.old_scores_next)
        if batch.step.has_output:
            batch.began, self._output_to = self._output_to, batch.reached[:2]
            # Positive if retention has deleted more records in the meantime.
            batch.users_past_retention += max(0, self._uncounted)
            self._uncounted = min(0, self._uncounted)
        batch.closed = True

    # --- committing -------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Process results of the scorer and the commit thread. Raises the exceptions of both."""
        if self._open is not None and self._context.clock() - self._open.opened_s >= self._context.batch_s:
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
                self._context.processor.finish(work, scores, batch.unit)

    def _commit_next(self) -> None:
        if self._batches:
            batch = self._batches[0]
            if batch.closed and not batch.works:
                self._submit(lambda: self._committer.commit(batch, self.progress))
        elif not self._steps and not self.progress.done:
            self._submit(lambda: self._committer.complete(self.progress))

    def _submit(self, commit: Callable[[], Progress]) -> None:
        self._commit = self._context.commits.submit(commit)
        self._commit.add_done_callback(lambda _: self._context.changed())

    def _after_commit(self, progress: Progress) -> None:
        self._commit = None
        self.progress = progress
        if self._batches and not progress.done:
            self._batches.popleft()
            self._context.state.commit_oldest(self.partition)

    # --- ending -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Discard uncommitted batches and close everything, including the store.

        Waits for a commit in progress, at most a few transaction timeouts.
        """
        for batch in self._batches:
            for _work, scores in batch.works:
                if isinstance(scores, Future):
                    scores.cancel()
        if self._commit is not None:
            self._committer.give_up()
            self._commit.exception()
        self._context.state.close(self.partition)
        self._sources.close()
        self._committer.close()
        self._store.close()
