"""Commits the batches of a partition, on the commit thread.

A batch that is told: its Parquet files are written under pending names; one transaction of the partition's own producer
holds its output, the next offset and the note with the plan, the counts and the name of the files; the files get their
final names; the state goes to RocksDB. A batch that says nothing goes to RocksDB alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from schemas.records import DeadLetter, InfluenceScore, LabeledExample
from stream.exactly_once.kafka.store import PartitionStore
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.records import Output, TopicPartition
from stream.replay.batches import Batch, Parts
from stream.replay.notes import note_of
from stream.replay.outputs import by_kind
from stream.replay.parquet import DEAD_LETTERS, EXAMPLES, SCORES
from stream.replay.plan import COUNTS, Progress, Span
from stream.replay.state import positions_of
from stream.replay.steps import Reading

_COUNTED = {InfluenceScore: "scores", DeadLetter: "dead_letters", LabeledExample: "examples"}


class BatchCommitter:
    """Commits one partition's batches, in order; for one thread at a time."""

    def __init__(
        self, parts: Parts, partition: int, store: PartitionStore, writer: TransactionWriter
    ) -> None:
        self._parts = parts
        self._partition = partition
        self._store = store
        self._writer = writer

    def commit(self, batch: Batch, progress: Progress) -> Progress:
        """Commit a batch whose texts are scored; return the progress that is committed then.

        progress: before it. Raises what TransactionWriter.commit raises, OutputError, StoreError. Whatever is raised,
        what is committed stands in Kafka: a partition that is opened again goes on from there.
        """
        if batch.step.told:
            progress = self._tell(batch, progress)
        changes = self._parts.state.changes(batch.unit)
        self._store.write(changes, positions_of(self._parts.plan, *batch.reached))
        return progress

    def complete(self, progress: Progress) -> Progress:
        """Note that the partition is done, if what should be there is. Raises as commit() does."""
        parquet = self._parts.outputs.parquet
        if parquet is not None:
            parquet.check(
                self._partition, self._parts.plan.partitions[self._partition].scored, files_of(progress)
            )
        progress = replace(progress, done=True)
        self._write(progress, [])
        if parquet is not None:
            parquet.clear(self._partition)
        return progress

    def give_up(self) -> None:
        """Have a commit under way end at the next failure: whoever opens the partition next reads its fate."""
        self._writer.give_up()

    def close(self) -> None:
        """Let go of the producer."""
        self._writer.close()

    def _tell(self, batch: Batch, before: Progress) -> Progress:
        events_next, outcomes_next, _ = batch.reached
        said, outputs = by_kind(batch.unit.outputs), self._parts.outputs
        counts = Counter({_COUNTED[kind]: len(found) for kind, found in said.items()})
        counts["users_past_retention"] = batch.users_past_retention
        progress = Progress(events_next, outcomes_next, _added(before.counts, counts))
        if outputs.parquet is not None:
            records = {kind: [output.value for output in found] for kind, found in said.items()}
            if batch.step.reading is Reading.SCORE:
                records.setdefault(
                    InfluenceScore, []
                )  # where all were dead letters too: files tell what was read
            events, outcomes = Span(batch.began[0], events_next), Span(batch.began[1], outcomes_next)
            file = outputs.parquet.write(self._partition, events, outcomes, records)
            progress = replace(progress, file=file)
        self._write(progress, outputs.topic.encode(said) if outputs.topic is not None else [])
        if outputs.parquet is not None and progress.file:
            outputs.parquet.publish(progress.file)
        return progress

    def _write(self, progress: Progress, outputs: Sequence[Output]) -> None:
        where = TopicPartition(self._parts.topics[0], self._partition)
        note = note_of(self._parts.plan, self._partition, progress)
        self._writer.commit(outputs, {where: progress.events_next}, self._parts.identity, {}, note)


def files_of(progress: Progress) -> dict[str, int]:
    """Return how many rows the files of each kind must hold."""
    return {kind: progress.counts.get(kind, 0) for kind in (SCORES, DEAD_LETTERS, EXAMPLES)}


def _added(before: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: before.get(name, 0) + more.get(name, 0) for name in COUNTS}
