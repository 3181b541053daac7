"""A commit also stores the changelog offset and the time of each table of the partition."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream.exactly_once.driver.committing import UnitCommitter
from stream.exactly_once.kafka.offsets import OffsetPolicy
from stream.exactly_once.kafka.recovery import Changelog, RecoveryPlan
from stream.exactly_once.kafka.store import PartitionStore, Position
from stream.exactly_once.units.records import TopicPartition

HOUR_MS = 3_600_000
CHANGELOGS = [Changelog(table, f"{table}-log", f"id-{table}", 24 * HOUR_MS) for table in ("users", "items")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PartitionStore]:
    opened = PartitionStore(tmp_path / "partition-00000")
    yield opened
    opened.close()


def write(store: PartitionStore, **offsets: int) -> None:
    """Commit one key of each of these tables. offsets: the next changelog offset, by table."""
    plan = RecoveryPlan({}, "group", ["events"], CHANGELOGS, OffsetPolicy(), lambda _cancelled: {})
    nothing: Any = SimpleNamespace()
    committer = UnitCommitter(plan, [], nothing, nothing, None)
    written = {TopicPartition(f"{table}-log", 0): offset for table, offset in offsets.items()}
    committer._write_stores({0: store}, {0: [(table, b"ann", b"1") for table in offsets]}, written)


def hours_old(store: PartitionStore, table: str) -> float:
    position = store.position(table)
    assert position is not None
    return (time.time() * 1000 - position.written_at_ms) / HOUR_MS


@pytest.mark.parametrize(("hours_before", "hours_after"), [(23, 0), (1, 1)])
def test_a_commit_confirms_tables_it_does_not_write(
    store: PartitionStore, hours_before: float, hours_after: float
) -> None:
    """A successful commit proves that no other worker has written to the partition's changelogs."""
    at_ms = int(time.time() * 1000 - hours_before * HOUR_MS)
    store.write([], {"items": Position("id-items", 7, at_ms)})
    write(store, users=41)
    users, items = store.position("users"), store.position("items")
    assert users is not None
    assert items is not None
    assert (users.next_offset, users.topic_id) == (41, "id-users")
    assert (items.next_offset, items.topic_id) == (7, "id-items")
    assert hours_old(store, "users") == pytest.approx(0, abs=0.1)
    assert hours_old(store, "items") == pytest.approx(hours_after, abs=0.1)


def test_an_unwritten_table_gets_no_position(store: PartitionStore) -> None:
    write(store, users=41)
    assert store.position("items") is None
