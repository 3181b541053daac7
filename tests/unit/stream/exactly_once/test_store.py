"""State on disk: a partition's store, and a worker's state folder."""

import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from stream.exactly_once.kafka.store import PartitionStore, Position, StateFolder
from stream.exactly_once.units.errors import StartError, StoreCorruptError, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "partition-00000"


def position(store: PartitionStore, table: str = "users") -> tuple[str, int, int] | None:
    found = store.position(table)
    return None if found is None else (found.topic_id, found.next_offset, found.written_at_ms)


def test_written_values_and_position_survive_a_reopen(path: Path) -> None:
    store = PartitionStore(path)
    assert position(store) is None
    store.write(
        [("users", b"ann", b"1"), ("users", b"bob", b"2"), ("items", b"ann", b"3")],
        {"users": Position("id-ü", next_offset=17, written_at_ms=1_700_000_000_000)},
    )
    store.close()
    store = PartitionStore(path)
    assert (store.get("users", b"ann"), store.get("items", b"ann"), store.get("items", b"bob")) == (
        b"1",
        b"3",
        None,
    )
    assert (position(store), position(store, "items")) == (("id-ü", 17, 1_700_000_000_000), None)
    store.close()


def test_none_deletes_and_the_last_change_of_a_key_wins(path: Path) -> None:
    store = PartitionStore(path)
    store.write([("users", b"ann", b"1"), ("users", b"bob", b"1")], {})
    store.write([("users", b"ann", None), ("users", b"bob", b"2"), ("users", b"bob", b"3")], {})
    assert dict(store.items("users")) == {b"bob": b"3"}
    store.close()


def test_a_table_is_iterated_alone_and_in_key_order(path: Path) -> None:
    store = PartitionStore(path)
    keys = [b"", b"\x00", b"a", b"a\x00b", b"\xff", b"\x00position\x00users"]
    for table in ("user", "users", "usert"):
        store.write(
            [(table, key, table.encode()) for key in reversed(keys)],
            {table: Position("id", next_offset=1, written_at_ms=2)},
        )
    assert list(store.items("users")) == [(key, b"users") for key in sorted(keys)]
    assert position(store) == ("id", 1, 2)
    store.close()


def test_a_wiped_store_is_empty_and_writable(path: Path) -> None:
    store = PartitionStore(path)
    store.write([("users", b"ann", b"1")], {"users": Position("id", next_offset=1, written_at_ms=2)})
    store.wipe()
    assert (store.get("users", b"ann"), position(store)) == (None, None)
    store.write([("users", b"ann", b"2")], {})
    assert store.get("users", b"ann") == b"2"
    store.close()


@pytest.mark.parametrize("broken", ["CURRENT", "MANIFEST-*", "*"])
def test_a_damaged_store_is_recreated(path: Path, broken: str, caplog: pytest.LogCaptureFixture) -> None:
    store = PartitionStore(path)
    store.write([("users", b"ann", b"1")], {"users": Position("id", next_offset=1, written_at_ms=2)})
    store.close()
    for file in path.glob(broken):
        file.write_bytes(b"not RocksDB's")
    store = PartitionStore(path)
    assert position(store) is None  # so the whole changelog is read
    assert "rebuilt from Kafka" in caplog.text
    store.write([("users", b"ann", b"2")], {})
    assert store.get("users", b"ann") == b"2"
    store.close()


# --- the folder -------------------------------------------------------------------------------------------


def test_the_slot_is_created_once_and_kept(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "new" / "state")
    slot = folder.open(None)
    folder.close()
    assert len(slot) == 16
    again = StateFolder(tmp_path / "new" / "state")
    assert again.open(None) == slot
    again.close()
    shutil.rmtree(tmp_path / "new")
    other = StateFolder(tmp_path / "new" / "state")
    assert other.open(None) != slot
    other.close()


def test_a_configured_slot_is_used(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert folder.open("blue") == "blue"
    folder.close()


def test_an_empty_slot_file_after_a_crash_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "slot").touch()
    folder = StateFolder(tmp_path)
    slot = folder.open(None)
    folder.close()
    assert len(slot) == 16
    assert (tmp_path / "slot").read_text().strip() == slot


def test_a_second_worker_is_refused_with_the_setting_named(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.open(None)
    with pytest.raises(StartError, match=r"in use by another worker.*state_dir"):
        StateFolder(tmp_path).open(None)
    folder.close()
    second = StateFolder(tmp_path)
    second.open(None)
    second.close()


def _lock_folder(path: Path, locked: "multiprocessing.synchronize.Event") -> None:
    StateFolder(path).open(None)
    locked.set()
    locked.wait(0)  # end without closing, like a killed process


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    locked = context.Event()
    process = context.Process(target=_lock_folder, args=(tmp_path, locked))
    process.start()
    process.join(60)
    assert locked.is_set()
    folder = StateFolder(tmp_path)
    folder.open(None)
    folder.close()


@pytest.mark.parametrize("below", ["", "state"], ids=["a file in its place", "a file above it"])
def test_an_unusable_folder_is_refused_with_the_setting_named(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StartError, match=r"Cannot write to the state folder.*state_dir"):
        StateFolder(file / below).open(None)


def test_each_partition_has_its_own_folder(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert folder.partition(7) == tmp_path / "partition-00007"
    assert folder.partition(123_456) != folder.partition(12_345)


def test_a_store_found_corrupt_is_empty_after_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "partition-00000"
    store = PartitionStore(path)
    store.write([("users", b"%d" % number, b"v" * 100) for number in range(2000)], {})
    store.close()
    for file in path.glob("*.sst"):
        raw = bytearray(file.read_bytes())
        raw[100] ^= 0xFF
        file.write_bytes(raw)
    store = PartitionStore(path)
    with pytest.raises(StoreCorruptError, match=r"partition-00000.*next start rebuilds"):
        store.get("users", b"0")
    store.close()
    again = PartitionStore(path)
    assert "corrupt" in caplog.text
    assert again.get("users", b"0") is None
    again.write([("users", b"0", b"new")], {})
    again.close()
    assert PartitionStore(path).get("users", b"0") == b"new"


def test_opening_a_store_in_use_fails_and_leaves_it_intact(tmp_path: Path) -> None:
    store = PartitionStore(tmp_path / "partition-00000")
    store.write([("users", b"ann", b"1")], {})
    with pytest.raises(StoreError, match="lock"):
        PartitionStore(tmp_path / "partition-00000")
    assert store.get("users", b"ann") == b"1"


def test_a_damaged_store_is_rebuilt_whatever_its_path_contains(tmp_path: Path) -> None:
    path = tmp_path / "block lock hold by" / "partition-00000"
    path.parent.mkdir()
    store = PartitionStore(path)
    store.write([("users", b"ann", b"1")], {})
    store.close()
    for file in path.glob("*.sst"):
        file.unlink()
    assert PartitionStore(path).get("users", b"ann") is None


DAY_S = 86_400.0


def stores(folder: StateFolder, *numbers: int) -> list[PartitionStore]:
    opened = [folder.open_store(number, len(numbers)) for number in numbers]
    for store in opened:
        store.write([("users", b"ann", b"1")], {})
    return opened


def test_only_closed_stores_are_dropped_when_unused_for_long(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, drop_unused_after_s=7 * DAY_S)
    kept, closed = stores(folder, 1, 2)
    closed.close()
    now_s = time.time()
    assert folder.drop_unused([1], now_s + 6 * DAY_S) == []
    assert folder.drop_unused([1], now_s + 8 * DAY_S) == [2]
    assert kept.get("users", b"ann") == b"1"
    kept.close()
    (again,) = [folder.open_store(2, 1)]
    assert again.get("users", b"ann") is None
    again.close()


def test_a_store_counts_as_used_until_it_is_closed(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, drop_unused_after_s=7 * DAY_S)
    (store,) = stores(folder, 3)
    long_ago_s = time.time() - 30 * DAY_S
    os.utime(folder.partition(3), (long_ago_s, long_ago_s))
    store.close()
    assert folder.drop_unused([], time.time()) == []
    os.utime(folder.partition(3), (long_ago_s, long_ago_s))
    folder.drop_unused([3], time.time())  # open in a worker that is killed later
    assert folder.drop_unused([], time.time()) == []


def test_an_interrupted_drop_is_completed_and_other_files_stay(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, drop_unused_after_s=DAY_S)
    (tmp_path / "partition-00004.dropped").mkdir()
    (tmp_path / "partition-00004.dropped" / "000012.sst").write_text("x")
    (tmp_path / "partition-00005.damaged").touch()
    (tmp_path / "slot").write_text("name")
    assert folder.drop_unused([], time.time() + 10 * DAY_S) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["partition-00005.damaged", "slot"]


def test_zero_disables_dropping(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, drop_unused_after_s=0)
    for store in stores(folder, 1):
        store.close()
    assert folder.drop_unused([], time.time() + 1_000 * DAY_S) == []
    assert folder.partition(1).exists()
