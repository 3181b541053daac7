"""The state on disk: one RocksDB a partition, all tables in it, written in one WriteBatch a unit."""

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

_POSITION = b"\x00position\x00"  # then the table's name; table names hold no NUL, so no user key can collide
_MEMORY_BYTES = 128 * 1024 * 1024
_LEAST_WRITE_BUFFER_BYTES = 256 * 1024  # RocksDB's arenas take their memory in blocks
_MOST_WRITE_BUFFER_BYTES = 16 * 1024 * 1024
_STORE_NAME = re.compile(r"partition-(\d{5,})")
_DROPPED = ".dropped"
_CORRUPTION = "Corruption"
# A store that cannot be opened for one of these is whole; for any other reason it is rebuilt.
_NOT_DAMAGE = (
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
    """The worker's own folder: a lock against a second process, the slot's name, the partitions' stores."""

    def __init__(
        self, path: Path, memory: "StoreMemory | None" = None, *, drop_unused_after_s: float = 0.0
    ) -> None:
        """Name the folder; `open` makes it.

        memory: for all of its stores together. drop_unused_after_s: see drop_unused; 0 keeps all.
        """
        self.path = path
        self._memory = memory
        self._drop_unused_after_s = drop_unused_after_s
        self._lock = FileLock(path / "lock")

    def open(self, slot: str | None) -> str:
        """Lock the folder and return the slot: `slot`, or the random one made at first start.

        Raises StartError when the folder cannot be written or another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            return slot or self._own_slot()
        except Timeout as exc:
            raise StartError(
                f"The state folder {self.path} is in use by another worker. Give each worker a folder of its own "
                "(state_dir)."
            ) from exc
        except OSError as exc:
            raise StartError(
                f"The state folder {self.path} cannot be written: {exc.strerror}. Set state_dir to a folder that can."
            ) from exc

    def _own_slot(self) -> str:
        file = self.path / "slot"
        slot = file.read_text().strip() if file.exists() else ""
        if not slot:  # a crash may have left the file empty, and two workers must never share a name
            slot = secrets.token_hex(8)
            file.write_text(slot)
        return slot

    def partition(self, number: int) -> Path:
        """Return where a partition's store lies."""
        return self.path / f"partition-{number:05d}"

    def open_store(self, number: int, stores: int) -> "PartitionStore":
        """Open a partition's store, one of so many that are open at once. Raises StoreError."""
        if self._memory is None:
            self._memory = StoreMemory()
        return PartitionStore(self.partition(number), self._memory, stores)

    def drop_unused(self, in_use: Iterable[int], now_s: float) -> list[int]:
        """Drop the stores that were not open for drop_unused_after_s; return their partitions.

        in_use: the partitions whose stores are open: they are noted as used now. Kafka holds what a dropped store was
        made of. A folder that cannot be removed is left for the next time. Call it where stores are opened.
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
            logger.info("Dropped the stores of partitions %s: not used for long", dropped)
        return dropped

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()


class StoreMemory:
    """What RocksDB may take for all stores of a process together: blocks, indexes, filters and write buffers.

    One cache holds them all, since the write buffers are charged to it. They take at most half: each store's part is
    small enough for all to be full at once, so that an idle partition's never make a busy one flush at every write.
    """

    def __init__(self, max_bytes: int = _MEMORY_BYTES) -> None:
        self._write_bytes = max_bytes // 2
        self._cache = Cache(max_bytes)
        self._manager = WriteBufferManager.new_write_buffer_manager_with_cache(
            self._write_bytes, False, self._cache
        )

    def options(self, stores: int) -> Options:
        """Return how a store is opened that is one of so many."""
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
        """Return how large a store's write buffer gets: it has two, of which one is being flushed."""
        share = self._write_bytes // (2 * max(1, stores))
        return min(_MOST_WRITE_BUFFER_BYTES, max(_LEAST_WRITE_BUFFER_BYTES, share))

    @property
    def used_bytes(self) -> int:
        """What the cache holds, write buffers included."""
        used: int = self._cache.get_usage()
        return used


class PartitionStore:
    """A partition's committed state, and how far in each changelog it reaches."""

    def __init__(self, path: Path, memory: StoreMemory | None = None, stores: int = 1) -> None:
        """Open the store, or a new one where there is none or a damaged one. Raises StoreError.

        memory: shared with the process's other stores, of which there are so many; None for memory of its own.
        """
        self.path = path
        self._memory = memory or StoreMemory()
        self._stores = stores
        self._db = self._open()

    def _open(self) -> Rdict:
        options = self._memory.options(self._stores)
        if self._damaged.exists():  # found by an earlier process, while it was read
            logger.warning("Store %s is damaged; it is rebuilt from Kafka", self.path)
            self._remove()
        try:
            return Rdict(str(self.path), options)
        except Exception as exc:
            said = str(exc).replace(str(self.path), "")
            if _CORRUPTION not in said and any(reason in said for reason in _NOT_DAMAGE):
                raise self._failure(exc) from exc
            # Kafka holds what it was made of: a store that cannot be opened is rebuilt, not repaired.
            logger.warning("Store %s cannot be opened (%s); it is rebuilt from Kafka", self.path, exc)
            self._remove()
        try:
            return Rdict(str(self.path), options)
        except Exception as exc:
            raise self._failure(exc) from exc

    @property
    def _damaged(self) -> Path:
        """The file that says that this store must not be trusted."""
        return self.path.with_suffix(".damaged")

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._damaged.unlink(missing_ok=True)

    def _failure(self, exc: Exception) -> StoreError:
        """Name an error of RocksDB, which knows one class for all, and note damage for the next start."""
        if _CORRUPTION not in str(exc).replace(str(self.path), ""):
            return StoreError(
                f"The store {self.path} cannot be written or read: {exc}. Make room for it, or mend what else is "
                "said, and start again: nothing that was committed is lost, and the store can be rebuilt from Kafka."
            )
        self._damaged.touch()
        return StoreCorruptError(
            f"The store {self.path} is damaged: {exc}. The next start rebuilds it from Kafka."
        )

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the committed value. Raises StoreError."""
        try:
            value: bytes | None = self._db.get(_full_key(table, key))
        except Exception as exc:
            raise self._failure(exc) from exc
        return value

    def write(self, changes: Iterable[Change], positions: dict[str, "Position"]) -> None:
        """Apply a unit's changes and the changelog positions that belong to them, all or nothing.

        Raises StoreError, for a full disk too.
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
        """Return how far in the table's changelog this store is, or None for a new one."""
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
        """Start over with an empty store."""
        self._db.close()
        self._remove()
        self._db = self._open()

    def close(self) -> None:
        """Flush and close; the object cannot be used afterwards. Raises StoreError."""
        try:
            self._db.close()
        except Exception as exc:
            raise self._failure(exc) from exc
        with suppress(OSError):
            os.utime(self.path)  # when it was last used, see StateFolder.drop_unused


class Position:
    """A place in a changelog: its topic's id and the next offset.

    written_at_ms: when the store was last known to hold all that was in the changelog.
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
    """Return the partition of a store's folder, None for what is not one."""
    match = _STORE_NAME.fullmatch(name)
    return int(match[1]) if match else None


def _drop(path: Path) -> None:
    """Remove a store; cut off in the middle, what is left is not taken for one."""
    aside = path.with_name(path.name + _DROPPED)
    path.rename(aside)
    path.with_suffix(".damaged").unlink(missing_ok=True)
    shutil.rmtree(aside)


def _full_key(table: str, key: bytes) -> bytes:
    return table.encode() + b"\x00" + key
