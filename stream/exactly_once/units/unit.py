"""The commit unit: a closed slice of the one order of delivery. Pure."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stream.exactly_once.units.records import Epoch, Output, RecordBatch, TopicPartition

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(slots=True)
class Work:
    """What `read` leaves for `finish`: jobs for the scorer, and whatever else `finish` needs to know."""

    jobs: Sequence[Any]
    context: Any = None


class Unit:
    """State changes, outputs and offsets that become visible together.

    A processor uses `put`, `delete` and `emit`; reading goes through the table, which sees this unit first.
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
        """number: counts up in a worker's life. layers: this unit's own layer of each table, by name.

        reached: the next offset of every input partition, kept up to date by the engine before each batch.
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
        """Whether every result is there."""
        return all(
            future is None or (future.done() and not future.cancelled() and future.exception() is None)
            for future in self.futures
        )

    def put(self, table: str, partition: int, key: Hashable, value: Any) -> None:
        """Set a key of a table. value is immutable from here on; None deletes."""
        self.layers[table][(partition, key)] = value

    def delete(self, table: str, partition: int, key: Hashable) -> None:
        """Delete a key of a table: a tombstone in the changelog."""
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
        """Produce many records of one topic, each to the partition of its key."""
        self.outputs += [
            Output(topic, key, value, None, None) for key, value in zip(keys, values, strict=True)
        ]

    def read_to(self, batch: RecordBatch, work: Work, future: "Future[Any] | None", size_bytes: int) -> None:
        """Note that the unit now reaches past this batch."""
        self.offsets[TopicPartition(batch.topic, batch.partition)] = batch.next
        self.partitions.add(batch.partition)
        self.works.append(work)
        self.futures.append(future)
        self.records += len(batch.records)
        self.bytes += size_bytes


def slices(batch: RecordBatch, sizes: list[int], room_records: int, room_bytes: int) -> int:
    """Return how many of the batch's records the open unit still takes: at least one into an empty unit.

    sizes: bytes of each record. room_records and room_bytes: what the unit has left; room_records >= 1.
    """
    taken = min(len(batch.records), room_records)
    total = 0
    for index in range(taken):
        total += sizes[index]
        if total > room_bytes and index > 0:
            return index
    return taken


def split(batch: RecordBatch, count: int) -> tuple[RecordBatch, RecordBatch | None]:
    """Cut a batch after `count` records; the rest is None when nothing is left."""
    if count >= len(batch.records):
        return batch, None
    middle = batch.records[count - 1].offset + 1
    head = RecordBatch(batch.topic, batch.partition, batch.records[:count], batch.base, middle, batch.epoch)
    rest = RecordBatch(batch.topic, batch.partition, batch.records[count:], middle, batch.next, batch.epoch)
    return head, rest
