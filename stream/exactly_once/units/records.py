"""What flows through: source records in batches, output records, and the epoch they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class SourceRecord(Protocol):
    """One consumed record, as aiokafka gives it; nothing is copied."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # epoch milliseconds, Kafka's
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def size_of(record: SourceRecord) -> int:
    """Return how many bytes a record holds, its headers included."""
    size = len(record.value or b"") + len(record.key or b"")
    if record.headers:
        size += sum(len(name) + len(value or b"") for name, value in record.headers)
    return size


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stay in the consumer group, frozen when its partitions were assigned.

    Everything read in an epoch commits with this identity or not at all: read live, a zombie's would be
    (-1, ""), for which the broker skips its check.
    """

    generation: int
    member_id: str


class TopicPartition(NamedTuple):
    """A topic and a partition number; equal to Faust's and aiokafka's own."""

    topic: str
    partition: int


@dataclass(slots=True)
class RecordBatch:
    """Records of one partition and poll, in order.

    base is the offset that delivery had reached before the batch (what the records' predecessor set), next
    the one after its last record. Offsets in between may have holes: transaction markers, compaction.
    """

    topic: str
    partition: int
    records: Sequence[SourceRecord]
    base: int
    next: int
    epoch: Epoch


class Output(NamedTuple):
    """A record to produce inside the unit's transaction. partition None: by the key's murmur2 hash."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None
    timestamp_ms: int | None
