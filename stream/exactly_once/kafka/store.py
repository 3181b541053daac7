"""State on disk: one RocksDB per partition with all its tables, written in one WriteBatch per commit."""

import logging
import os
import re
import secrets
import shutil
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteBufferManager

from stream.exactly_once.units.errors import StartError, StoreCorruptError, StoreError

logger = logging.getLogger(__name__)

# Prefix of a table's name. Table names contain no NUL, so no user key collides.
_POSITION = b"\x00position\x00"
_MEMORY_BYTES = 128 * 1024 * 1024
_MIN_WRITE_BUFFER_BYTES = 256 * 1024  # RocksDB allocates arena memory in blocks
_MAX_WRITE_BUFFER_BYTES = 16 * 1024 * 1024
_STORE_NAME = re.compile(r"partition-(\d{5,})")
_DROPPED = ".dropped"
_CORRUPTION = "Corruption"
# Open errors that do not indicate corruption. A store that fails to open with any other error is rebuilt.
_NOT_CORRUPTION = (
    "No space left",
    "quota exceeded",
    "lock hold by",
    "While lock file",
    "Permission denied",
    "Too many open files",
    "Read-only file system",
    "Stale file handle",
    "Cannot allocate memory",
)

Change = tuple[str, bytes, bytes | None]  # table, key, value (None deletes)


class StateFolder:
    """The worker's state folder: a lock against a second process, the slot name and the partition stores."""

    def __init__(
        self, path: Path, memory: "StoreMemory | None" = None, *, drop_unused_after_s: float = 0.0
    ) -> None:
        """Set the path; `open` creates the folder.

        memory: shared by all stores. drop_unused_after_s: see drop_unused; 0 keeps all stores.
        """
        self.path = path
        self._memory = memory
        self._drop_unused_after_s = drop_unused_after_s
        self._lock = FileLock(path / "lock")

    def open(self, slot: str | None) -> str:
        """Lock the folder and return the slot: `slot`, or the random name created at the first start.

        Raises StartError when the folder cannot be written or another process has locked it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            return slot or self._own_slot()
        except Timeout as exc:
            raise StartError(
                f"The state folder {self.path} is in use by another worker. Give each worker its own folder "
                "(state_dir)."
            ) from exc
        except OSError as exc:
            raise StartError(
                f"Cannot write to the state folder {self.path}: {exc.strerror}. Set state_dir to a writable folder."
            ) from exc

    def _own_slot(self) -> str:
        file = self.path / "slot"
        slot = file.read_text().strip() if file.exists() else ""
        if not slot:  # a crash may have left the file empty; two workers must never share a slot
            slot = secrets.token_hex(8)
            file.write_text(slot)
        return slot

    def partition(self, number: int) -> Path:
        """Return the path of a partition's store."""
        return self.path / f"partition-{number:05d}"

    def open_store(self, number: int, stores: int) -> "PartitionStore":
        """Open a partition's store. stores: number of stores open at the same time. Raises StoreError."""
        if self._memory is None:
            self._memory = StoreMemory()
        return PartitionStore(self.partition(number), self._memory, stores)

    def drop_unused(self, in_use: Iterable[int], now_s: float) -> list[int]:
        """Delete stores that were not open for drop_unused_after_s and return their partitions.

        in_use: partitions with an open store; they are marked as used now. Deleted stores can be rebuilt from Kafka.
        A folder that cannot be deleted is retried next time. Call this on the thread that opens stores.
        """
        if not self._drop_unused_after_s:
            return []
        used = {self.partition(number) for number in in_use}
        dropped = []
        for path in sorted(self.path.glob("partition-*")):
            number = _partition_of(path.name)
            with suppress(OSError):
                if path in used:
                    os.utime(path, (now_s, now_s))
                elif path.name.endswith(_DROPPED):
                    shutil.rmtree(path)
                elif number is not None and now_s - path.stat().st_mtime > self._drop_unused_after_s:
                    _drop(path)
                    dropped.append(number)
        if dropped:
            logger.info("Deleted unused stores of partitions %s", dropped)
        return dropped

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()


class StoreMemory:
    """Memory shared by all RocksDB stores of a process: blocks, indexes, filters and write buffers.

    One cache holds everything, because write buffers are charged to it. Write buffers use at most half of it. They are
    small enough for all to be full at once, so that buffers of idle partitions do not force a busy one to flush on
    every write.
    """

    def __init__(self, max_bytes: int = _MEMORY_BYTES) -> None:
        self._write_bytes = max_bytes // 2
        self._cache = Cache(max_bytes)
        self._manager = WriteBufferManager.new_write_buffer_manager_with_cache(
            self._write_bytes, False, self._cache
        )

    def options(self, stores: int) -> Options:
        """Return the RocksDB options of a store. stores: number of stores open at the same time."""
        table = BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_cache_index_and_filter_blocks(True)
        table.set_bloom_filter(10, block_based=False)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_write_buffer_manager(self._manager)
        options.set_write_buffer_size(self.write_buffer_bytes(stores))
        options.set_max_open_files(64)
        return options

    def write_buffer_bytes(self, stores: int) -> int:
        """Return the write buffer size of a store; each store has two buffers, one of them being flushed."""
        share = self._write_bytes // (2 * max(1, stores))
        return min(_MAX_WRITE_BUFFER_BYTES, max(_MIN_WRITE_BUFFER_BYTES, share))

    @property
    def used_bytes(self) -> int:
        """Bytes in the cache, including write buffers."""
        used: int = self._cache.get_usage()
        return used


class PartitionStore:
    """The committed state of a partition and its position in each changelog."""

    def __init__(self, path: Path, memory: StoreMemory | None = None, stores: int = 1) -> None:
        """Open the store; create a new one if it is missing or corrupt. Raises StoreError.

        memory: shared by the stores of the process; None allocates its own. stores: number of stores open at the same
        time.
        """
        self.path = path
        self._memory = memory or StoreMemory()
        self._stores = stores
        self._db = self._open()

    def _open(self) -> Rdict:
        options = self._memory.options(self._stores)
        # The marker was written by an earlier process that found the corruption while reading.
        if self._corruption_marker.exists():
            logger.warning("Store %s is corrupt; it is rebuilt from Kafka", self.path)
            self._remove()
        try:
            return Rdict(str(self.path), options)
        except Exception as exc:
            message = str(exc).replace(str(self.path), "")
            if _CORRUPTION not in message and any(reason in message for reason in _NOT_CORRUPTION):
                raise self._failure(exc) from exc
            # The state is also in Kafka, so a store that cannot be opened is rebuilt, not repaired.
            logger.warning("Store %s cannot be opened (%s); it is rebuilt from Kafka", self.path, exc)
            self._remove()
        try:
            return Rdict(str(self.path), options)
        except Exception as exc:
            raise self._failure(exc) from exc

    @property
    def _corruption_marker(self) -> Path:
        """The marker file of a corrupt store."""
        return self.path.with_suffix(".damaged")

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._corruption_marker.unlink(missing_ok=True)

    def _failure(self, exc: Exception) -> StoreError:
        """Convert a RocksDB error, which has one class for all causes, and mark a corrupt store for the next start."""
        if _CORRUPTION not in str(exc).replace(str(self.path), ""):
            return StoreError(
                f"Cannot write or read the store {self.path}: {exc}. Free disk space or fix the reported cause, and "
                "restart. No committed data is lost, and the store can be rebuilt from Kafka."
            )
        self._corruption_marker.touch()
        return StoreCorruptError(
            f"The store {self.path} is corrupt: {exc}. The next start rebuilds it from Kafka."
        )

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the committed value, or None. Raises StoreError."""
        try:
            value: bytes | None = self._db.get(_full_key(table, key))
        except Exception as exc:
            raise self._failure(exc) from exc
        return value

    def write(self, changes: Iterable[Change], positions: dict[str, "Position"]) -> None:
        """Apply the changes of a commit and the matching changelog positions atomically.

        Raises StoreError, also when the disk is full.
        """
        batch = WriteBatch(raw_mode=True)
        for table, key, value in changes:
            if value is None:
                batch.delete(_full_key(table, key))
            else:
                batch.put(_full_key(table, key), value)
        for table, position in positions.items():
            batch.put(_POSITION + table.encode(), position.pack())
        try:
            self._db.write(batch)
        except Exception as exc:
            raise self._failure(exc) from exc

    def position(self, table: str) -> "Position | None":
        """Return the store's position in the table's changelog, or None for a new store."""
        try:
            raw = self._db.get(_POSITION + table.encode())
        except Exception as exc:
            raise self._failure(exc) from exc
        return None if raw is None else Position.unpack(raw)

    def items(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over a table's committed keys and values, in key order."""
        prefix = _full_key(table, b"")
        pairs: Iterator[tuple[Any, Any]] = self._db.items(from_key=prefix)
        for key, value in pairs:
            if not key.startswith(prefix):
                return
            yield key[len(prefix) :], value

    def wipe(self) -> None:
        """Replace the store with an empty one."""
        self._db.close()
        self._remove()
        self._db = self._open()

    def close(self) -> None:
        """Flush and close the store, which is unusable afterwards. Raises StoreError."""
        try:
            self._db.close()
        except Exception as exc:
            raise self._failure(exc) from exc
        with suppress(OSError):
            os.utime(self.path)  # time of last use, see StateFolder.drop_unused


class Position:
    """A position in a changelog: topic id and next offset.

    written_at_ms: when the store was last known to be complete, in epoch milliseconds.
    """

    __slots__ = ("next_offset", "topic_id", "written_at_ms")
    _HEAD = struct.Struct(">qq")

    def __init__(self, topic_id: str, next_offset: int, written_at_ms: int) -> None:
        self.topic_id = topic_id
        self.next_offset = next_offset
        self.written_at_ms = written_at_ms

    def pack(self) -> bytes:
        """Encode for the store."""
        return self._HEAD.pack(self.next_offset, self.written_at_ms) + self.topic_id.encode()

    @classmethod
    def unpack(cls, raw: bytes) -> "Position":
        """Decode what `pack` wrote."""
        next_offset, written_at_ms = cls._HEAD.unpack_from(raw)
        return cls(raw[cls._HEAD.size :].decode(), next_offset, written_at_ms)


def _partition_of(name: str) -> int | None:
    """Return the partition number of a store's folder name; None for other names."""
    match = _STORE_NAME.fullmatch(name)
    return int(match[1]) if match else None


def _drop(path: Path) -> None:
    """Delete a store. It is renamed first, so that a partly deleted folder is not opened as a store."""
    aside = path.with_name(path.name + _DROPPED)
    path.rename(aside)
    path.with_suffix(".damaged").unlink(missing_ok=True)
    shutil.rmtree(aside)


def _full_key(table: str, key: bytes) -> bytes:
    return table.encode() + b"\x00" + key
