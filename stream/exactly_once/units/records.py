"""Source records, batches, output records and the epoch to which they belong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class SourceRecord(Protocol):
    """A consumed record, as returned by aiokafka without a copy."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # Kafka's record timestamp, in epoch milliseconds
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def size_of(record: SourceRecord) -> int:
    """Return the size of a record in bytes, including its headers."""
    size = len(record.value or b"") + len(record.key or b"")
    if record.headers:
        size += sum(len(name) + len(value or b"") for name, value in record.headers)
    return size


@dataclass(frozen=True, slots=True)
class Epoch:
    """A membership in the consumer group, captured when its partitions were assigned.

    Everything read in an epoch is committed with this identity. Reading it at commit time would be unsafe: a zombie
    consumer reports (-1, ""), which the broker does not check.
    """

    generation: int
    member_id: str


class TopicPartition(NamedTuple):
    """A topic and a partition number; compares equal to the types of Faust and aiokafka."""

    topic: str
    partition: int


@dataclass(slots=True)
class RecordBatch:
    """Records of one partition from one poll, in offset order.

    base: the offset after the previous batch. next: the offset after the last record. Offsets in between may be
    missing because of transaction markers and compaction.
    """

    topic: str
    partition: int
    records: Sequence[SourceRecord]
    base: int
    next: int
    epoch: Epoch


class Output(NamedTuple):
    """A record to produce in the unit's transaction. partition None: chosen by the murmur2 hash of the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None
    timestamp_ms: int | None
