"""What a commit writes to the stores beside its changes: how far, and of when, each table of the partition is."""

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
    """Have the store take a commit that wrote a key of each of these tables, up to these changelog offsets."""
    plan = RecoveryPlan({}, "group", ["events"], CHANGELOGS, OffsetPolicy(), lambda _cancelled: {})
    nothing: Any = SimpleNamespace()
    committer = UnitCommitter(plan, [], nothing, nothing, None)
    written = {TopicPartition(f"{table}-log", 0): offset for table, offset in offsets.items()}
    committer._write_stores({0: store}, {0: [(table, b"ann", b"1") for table in offsets]}, written)


def hours_old(store: PartitionStore, table: str) -> float:
    position = store.position(table)
    assert position is not None
    return (time.time() * 1000 - position.written_at_ms) / HOUR_MS


@pytest.mark.parametrize(("was_hours", "is_hours"), [(23, 0), (1, 1)])
def test_a_commit_confirms_the_tables_that_it_does_not_write(
    store: PartitionStore, was_hours: float, is_hours: float
) -> None:
    """The broker took the commit, so nobody else has written to this partition's changelogs meanwhile."""
    at_ms = int(time.time() * 1000 - was_hours * HOUR_MS)
    store.write([], {"items": Position("id-items", 7, at_ms)})
    write(store, users=41)
    users, items = store.position("users"), store.position("items")
    assert users is not None
    assert items is not None
    assert (users.next_offset, users.topic_id) == (41, "id-users")
    assert (items.next_offset, items.topic_id) == (7, "id-items")
    assert hours_old(store, "users") == pytest.approx(0, abs=0.1)
    assert hours_old(store, "items") == pytest.approx(is_hours, abs=0.1)


def test_a_table_that_was_never_written_gets_no_position(store: PartitionStore) -> None:
    write(store, users=41)
    assert store.position("items") is None
