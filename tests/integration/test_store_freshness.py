"""On a real broker, only old stores that may have missed a deletion are rebuilt."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from stream.exactly_once.kafka.offsets import OffsetPolicy
from stream.exactly_once.kafka.recovery import Recovered, RecoveryPlan, recover
from stream.exactly_once.kafka.store import PartitionStore, Position
from stream.exactly_once.kafka.topics import TopicIds, ensure_changelogs
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.progress import RecoveryProgress
from stream.exactly_once.units.records import Output, TopicPartition
from tests.integration.conftest import Topics

DAY_MS = 86_400_000  # Kafka's default of delete.retention.ms
TABLES = ("users", "items")


class Partition:
    """Partition 0 of a group with two tables: its changelogs on the broker, and a local store."""

    def __init__(self, topics: Topics, folder: Path) -> None:
        client = {"bootstrap.servers": topics.bootstrap_servers}
        self.events = TopicPartition(topics.create("events"), 0)
        changelogs = ensure_changelogs(
            client,
            [self.events.topic],
            {table: f"{topics.prefix}-{table}-changelog" for table in TABLES},
            replication=-1,
            timeout_s=30,
        )
        self.changelogs = {changelog.table: changelog for changelog in changelogs}
        names = [self.events.topic, *(changelog.topic for changelog in changelogs)]
        topic_ids = TopicIds(client, names)
        self.plan = RecoveryPlan(
            client, topics.group(), [self.events.topic], changelogs, OffsetPolicy(), topic_ids.wait
        )
        self.store = PartitionStore(folder / "partition-00000")
        self._member = Consumer({**client, "group.id": topics.group()})
        self._writer = TransactionWriter(
            client, topics.group("writer"), transaction_timeout_s=30, max_record_bytes=1000
        )
        self._writer.init(30)

    def close(self) -> None:
        self.store.close()
        self._member.close()
        self._writer.close()

    def commit(self, key: bytes, value: bytes | None) -> dict[str, int]:
        """Write a key of both tables in a transaction; return the offsets after it, by table."""
        outputs = [Output(self.changelogs[table].topic, key, value, 0, None) for table in TABLES]
        tracked = {TopicPartition(output.topic, 0): index for index, output in enumerate(outputs)}
        metadata = self._member.consumer_group_metadata()
        written = self._writer.commit(outputs, {self.events: 0}, metadata, tracked)
        return {table: written[TopicPartition(self.changelogs[table].topic, 0)] for table in TABLES}

    def store_at(self, written: dict[str, int], *, days_ago: float) -> None:
        """Write a key that only the store has, and positions as of a recovery that many days ago."""
        at_ms = int(time.time() * 1000 - days_ago * DAY_MS)
        positions = {
            table: Position(self.changelogs[table].topic_id, offset, at_ms)
            for table, offset in written.items()
        }
        self.store.write([("users", b"only here", b"1")], positions)

    @property
    def kept(self) -> bool:
        """Whether the store was not rebuilt."""
        return self.store.get("users", b"only here") is not None

    def recover(self) -> Recovered:
        return recover(self.plan, {0: self.store}, lambda: False, RecoveryProgress())


@pytest.fixture
def partition(topics: Topics, tmp_path: Path) -> Iterator[Partition]:
    made = Partition(topics, tmp_path)
    yield made
    made.close()


def test_a_store_at_the_end_is_kept_whatever_its_age(partition: Partition) -> None:
    partition.store_at(partition.commit(b"ann", b"1"), days_ago=30)
    assert partition.recover().records == 0
    assert partition.kept


def test_a_store_that_may_have_missed_a_deletion_is_rebuilt(partition: Partition) -> None:
    partition.commit(b"ann", b"1")
    partition.store_at(partition.commit(b"bob", b"1"), days_ago=2)
    partition.commit(b"ann", None)
    assert partition.recover().records == 6
    assert not partition.kept
    assert dict(partition.store.items("users")) == {b"bob": b"1"}


def test_a_store_within_delete_retention_is_continued(partition: Partition) -> None:
    partition.store_at(partition.commit(b"ann", b"1"), days_ago=0.9)
    partition.commit(b"bob", b"1")
    assert partition.recover().records == 2
    assert partition.kept


def test_a_recovery_refreshes_stores_without_new_records(partition: Partition) -> None:
    """So the store may miss the next commit, whatever the age of the commit before it."""
    partition.store_at(partition.commit(b"ann", b"1"), days_ago=30)
    partition.recover()
    partition.recover()  # reads nothing: both stores are past the marker
    partition.commit(b"bob", b"1")
    assert partition.recover().records == 2
    assert partition.kept
