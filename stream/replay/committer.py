"""Commits the batches of a partition on the commit thread.

For a batch with output: write Parquet files under pending names; commit one transaction of the partition's own producer
with the output, the next offset, and metadata that contains plan, counts and file name; rename the files to their final
names; write the state to RocksDB. A batch without output is only written to RocksDB.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from schemas.records import DeadLetter, InfluenceScore, LabeledExample
from stream.exactly_once.kafka.store import PartitionStore
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.records import Output, TopicPartition
from stream.replay.batches import Batch, ReplayContext
from stream.replay.notes import encode_progress
from stream.replay.outputs import group_by_type
from stream.replay.parquet import DEAD_LETTERS, EXAMPLES, SCORES
from stream.replay.plan import COUNTS, Progress, Span
from stream.replay.state import positions_of
from stream.replay.steps import Reading

_COUNTED = {InfluenceScore: "scores", DeadLetter: "dead_letters", LabeledExample: "examples"}


class BatchCommitter:
    """Commits one partition's batches in order. Not thread-safe."""

    def __init__(
        self, context: ReplayContext, partition: int, store: PartitionStore, writer: TransactionWriter
    ) -> None:
        self._context = context
        self._partition = partition
        self._store = store
        self._writer = writer

    def commit(self, batch: Batch, progress: Progress) -> Progress:
        """Commit a batch whose texts are scored, and return the new committed progress.

        progress: before the batch. Raises what TransactionWriter.commit raises, OutputError, StoreError. After any
        exception Kafka holds the committed progress, and a reopened partition resumes there.
        """
        if batch.step.has_output:
            progress = self._write_output(batch, progress)
        changes = self._context.state.changes(batch.unit)
        self._store.write(changes, positions_of(self._context.plan, *batch.reached))
        return progress

    def complete(self, progress: Progress) -> Progress:
        """Mark the partition as done after checking its output. Raises as commit() does."""
        parquet = self._context.outputs.parquet
        if parquet is not None:
            parquet.check(
                self._partition, self._context.plan.partitions[self._partition].scored, files_of(progress)
            )
        progress = replace(progress, done=True)
        self._write(progress, [])
        if parquet is not None:
            parquet.clear(self._partition)
        return progress

    def give_up(self) -> None:
        """Make a commit in progress end at its next failure; the next owner of the partition reads its outcome."""
        self._writer.give_up()

    def close(self) -> None:
        """Close the producer."""
        self._writer.close()

    def _write_output(self, batch: Batch, before: Progress) -> Progress:
        events_next, outcomes_next, _ = batch.reached
        grouped, outputs = group_by_type(batch.unit.outputs), self._context.outputs
        counts = Counter({_COUNTED[kind]: len(found) for kind, found in grouped.items()})
        counts["users_past_retention"] = batch.users_past_retention
        progress = Progress(events_next, outcomes_next, _added(before.counts, counts))
        if outputs.parquet is not None:
            records = {kind: [output.value for output in found] for kind, found in grouped.items()}
            if batch.step.reading is Reading.SCORE:
                # An empty file if all events were dead letters, since file names record what was read.
                records.setdefault(InfluenceScore, [])
            events, outcomes = Span(batch.began[0], events_next), Span(batch.began[1], outcomes_next)
            file = outputs.parquet.write(self._partition, events, outcomes, records)
            progress = replace(progress, file=file)
        self._write(progress, outputs.topic.encode(grouped) if outputs.topic is not None else [])
        if outputs.parquet is not None and progress.file:
            outputs.parquet.publish(progress.file)
        return progress

    def _write(self, progress: Progress, outputs: Sequence[Output]) -> None:
        where = TopicPartition(self._context.topics[0], self._partition)
        metadata = encode_progress(self._context.plan, self._partition, progress)
        self._writer.commit(outputs, {where: progress.events_next}, self._context.identity, {}, metadata)


def files_of(progress: Progress) -> dict[str, int]:
    """Return the number of rows that the files of each kind must contain."""
    return {kind: progress.counts.get(kind, 0) for kind in (SCORES, DEAD_LETTERS, EXAMPLES)}


def _added(before: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: before.get(name, 0) + more.get(name, 0) for name in COUNTS}
