"""The commit unit: a contiguous slice of the delivery order that is committed as a whole."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stream.exactly_once.units.records import Epoch, Output, RecordBatch, TopicPartition

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(slots=True)
class Work:
    """The result of `read`: jobs for the scorer, and any context that `finish` needs."""

    jobs: Sequence[Any]
    context: Any = None


class Unit:
    """State changes, outputs and offsets that are committed atomically.

    A processor calls `put`, `delete` and `emit`. It reads through the table, which includes this unit's changes.
    """

    __slots__ = (
        "bytes",
        "closed",
        "dropped",
        "epoch",
        "futures",
        "layers",
        "number",
        "offsets",
        "outputs",
        "partitions",
        "reached",
        "records",
        "works",
    )

    def __init__(
        self,
        number: int,
        epoch: Epoch,
        layers: Mapping[str, dict[Any, Any]],
        reached: Mapping[TopicPartition, int],
    ) -> None:
        """Create an open unit.

        reached: the next offset of every input partition; the engine updates it before each batch.
        number: sequence number in the worker's lifetime. layers: this unit's layer of each table, by table name.
        """
        self.reached = reached
        self.number = number
        self.epoch = epoch
        self.layers = layers
        self.outputs: list[Output] = []
        self.offsets: dict[TopicPartition, int] = {}
        self.partitions: set[int] = set()
        self.works: list[Work] = []
        self.futures: list[Future[Any] | None] = []
        self.records = 0
        self.bytes = 0
        self.closed = False
        self.dropped = False

    @property
    def scored(self) -> bool:
        """Whether the results of all jobs are available."""
        return all(
            future is None or (future.done() and not future.cancelled() and future.exception() is None)
            for future in self.futures
        )

    def put(self, table: str, partition: int, key: Hashable, value: Any) -> None:
        """Set a key of a table. value must not be modified afterwards; None deletes the key."""
        self.layers[table][(partition, key)] = value

    def delete(self, table: str, partition: int, key: Hashable) -> None:
        """Delete a key of a table, which writes a tombstone to the changelog."""
        self.layers[table][(partition, key)] = None

    def emit(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Produce a record in this unit's transaction."""
        self.outputs.append(Output(topic, key, value, partition, timestamp_ms))

    def emit_all(self, topic: str, keys: Iterable[bytes | None], values: Iterable[bytes | None]) -> None:
        """Produce records to one topic, each to the partition of its key."""
        self.outputs += [
            Output(topic, key, value, None, None) for key, value in zip(keys, values, strict=True)
        ]

    def add_batch(
        self, batch: RecordBatch, work: Work, future: "Future[Any] | None", size_bytes: int
    ) -> None:
        """Add a batch and its work to the unit, and advance the partition's offset past the batch."""
        self.offsets[TopicPartition(batch.topic, batch.partition)] = batch.next
        self.partitions.add(batch.partition)
        self.works.append(work)
        self.futures.append(future)
        self.records += len(batch.records)
        self.bytes += size_bytes


def count_fitting(batch: RecordBatch, sizes: list[int], room_records: int, room_bytes: int) -> int:
    """Return how many of the batch's records fit into the open unit; at least 1, to make progress in an empty unit.

    sizes: bytes of each record. room_records, room_bytes: remaining capacity of the unit; room_records >= 1.
    """
    taken = min(len(batch.records), room_records)
    total = 0
    for index in range(taken):
        total += sizes[index]
        if total > room_bytes and index > 0:
            return index
    return taken


def split(batch: RecordBatch, count: int) -> tuple[RecordBatch, RecordBatch | None]:
    """Split a batch after `count` records; the second part is None if no records are left."""
    if count >= len(batch.records):
        return batch, None
    middle = batch.records[count - 1].offset + 1
    head = RecordBatch(batch.topic, batch.partition, batch.records[:count], batch.base, middle, batch.epoch)
    rest = RecordBatch(batch.topic, batch.partition, batch.records[count:], middle, batch.next, batch.epoch)
    return head, rest
