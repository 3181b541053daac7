"""The Parquet data set of a replay: columns, files, and how a file becomes visible.

    FOLDER/scores/00003-20000-40000-310-622.parquet    partition, half-open offset ranges of events and outcomes
    FOLDER/dead_letters/…, FOLDER/examples/…           of the same batch; missing if a batch has none
    FOLDER/scores/.00003-20000-40000-310-622-9f3c2a1b.pending    written but not committed

A file is written under a pending name, then the batch is committed to Kafka with that name, and then the file is
renamed. A file with its final name is therefore committed. After a crash, the commit determines which pending file is
published and which are deleted.
"""

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.records import DeadLetter, InfluenceScore, LabeledExample, Record
from stream.replay.errors import OutputError
from stream.replay.plan import Span

SCORES, DEAD_LETTERS, EXAMPLES = "scores", "dead_letters", "examples"

_TIME = pa.timestamp("ms", tz="UTC")
_TEXT = pa.string()
_WORD = pa.dictionary(pa.int32(), pa.string())  # few distinct values
_COLUMNS: Mapping[type[Record], Mapping[str, tuple[str, pa.DataType]]] = {
    InfluenceScore: {
        "event_id": ("event_id", _TEXT),
        "user_id": ("user_id", _TEXT),
        "item_id": ("item_id", _TEXT),
        "y_hat": ("y_hat", pa.float64()),
        "z_hat": ("z_hat", pa.float64()),
        "influence": ("influence", pa.float64()),
        "model_version": ("model_version", _WORD),
        "dtype": ("dtype", _WORD),
        "behaviours": ("behaviours", pa.int32()),
        "truncated": ("truncated", pa.bool_()),
        "duplicate": ("duplicate", pa.bool_()),
        "source_topic": ("source.topic", _WORD),
        "source_partition": ("source.partition", pa.int32()),
        "source_offset": ("source.offset", pa.int64()),
        "outcomes_next": ("outcomes_next", pa.int64()),
        "occurred_at": ("occurred_at", _TIME),
        "scored_at": ("scored_at", _TIME),
    },
    LabeledExample: {
        "event_id": ("event_id", _TEXT),
        "user_id": ("user_id", _TEXT),
        "item_id": ("item_id", _TEXT),
        "history": ("history", _TEXT),
        "target": ("target", _TEXT),
        "y": ("y", pa.float64()),
        "z": ("z", pa.float64()),
        "y_hat": ("y_hat", pa.float64()),
        "z_hat": ("z_hat", pa.float64()),
        "model_version": ("model_version", _WORD),
        "label_source": ("label_source", _WORD),
        "occurred_at": ("occurred_at", _TIME),
        "labeled_at": ("labeled_at", _TIME),
        "snapshot": ("snapshot", pa.binary()),
    },
    DeadLetter: {
        "reason": ("reason", _WORD),
        "detail": ("detail", _WORD),
        "source_topic": ("topic", _WORD),
        "source_partition": ("partition", pa.int32()),
        "source_offset": ("offset", pa.int64()),
        "timestamp": ("timestamp", _TIME),
        "key": ("key", pa.binary()),
        "raw": ("raw", pa.binary()),
        "raw_length": ("raw_length", pa.int64()),
        "raw_sha256": ("raw_sha256", _TEXT),
        "failed_at": ("failed_at", _TIME),
    },
}
"""By record type: the columns, and the attribute and data type of each."""

_NAME = re.compile(r"\.?(\d+)-(\d+)-(\d+)-(\d+)-(\d+)(?:\.parquet|-(?P<token>[0-9a-f]+)\.pending)")
_FOLDERS: Mapping[type[Record], str] = {
    InfluenceScore: SCORES,
    DeadLetter: DEAD_LETTERS,
    LabeledExample: EXAMPLES,
}


@dataclass(frozen=True, slots=True)
class FileName:
    """The batch of a file: its partition and offsets, and a token while it is pending."""

    partition: int
    events: Span
    outcomes: Span
    token: str = ""

    @property
    def final(self) -> str:
        """The file name after the commit."""
        return f"{self._stem}.parquet"

    @property
    def pending(self) -> str:
        """The file name before the commit; readers of data sets ignore names that start with a dot."""
        return f".{self._stem}-{self.token}.pending"

    @property
    def _stem(self) -> str:
        offsets = (*self.events, *self.outcomes)
        return "-".join([f"{self.partition:05d}", *map(str, offsets)])

    @classmethod
    def parse(cls, name: str) -> "FileName | None":
        """Parse a file name; None if it has another format."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        partition, *offsets = (int(part) for part in match.groups()[:5])
        return cls(partition, Span(*offsets[:2]), Span(*offsets[2:]), match["token"] or "")


class ParquetFolder:
    """The output folder of one replay, on a file system with atomic renames."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def holds_anything(self) -> bool:
        """Return whether the folder contains files of a replay."""
        return any(True for kind in _FOLDERS.values() for _ in (self.folder / kind).glob("*.parquet"))

    def write(
        self, partition: int, events: Span, outcomes: Span, records: Mapping[type[Record], Sequence[Any]]
    ) -> str:
        """Write and fsync a batch's pending files; return the name for publish(), or "" if there are none.

        records: by type; a type with no records gets an empty file. Raises OutputError.
        """
        name = FileName(partition, events, outcomes, secrets.token_hex(4)).pending
        try:
            for kind, rows in records.items():
                folder = self.folder / _FOLDERS[kind]
                folder.mkdir(parents=True, exist_ok=True)
                pq.write_table(_table(kind, rows), folder / name, compression="zstd")
                _sync(folder / name)
                _sync(folder)
        except OSError as exc:
            for subfolder in _FOLDERS.values():
                with suppress(OSError):
                    (self.folder / subfolder / name).unlink()
            raise OutputError(
                f"Cannot write to {self.folder}: {exc}. Free disk space or fix the reported cause, and run the same "
                "command again: it continues after the last completed batch."
            ) from exc
        return name if records else ""

    def publish(self, pending: str) -> None:
        """Rename a committed batch's files to their final names, if they are still pending.

        Raises OutputError if the files exist under neither name.
        """
        name = FileName.parse(pending)
        if name is None:
            raise OutputError(
                f"The replay's progress names a file {pending!r} that is not one of its batches."
            )
        there = False
        for subfolder in _FOLDERS.values():
            path = self.folder / subfolder / pending
            final = path.with_name(name.final)
            with suppress(FileNotFoundError):  # there is no such file, or the next owner has renamed it
                path.rename(final)
                _sync(path.parent)
            there = there or final.exists()
        if not there:
            raise OutputError(
                f"{self.folder} lacks the files of offsets {name.events.start} to {name.events.end} of partition "
                f"{name.partition}, which are committed. Start again with another id and folder."
            )

    def recover_pending(self, partition: int, committed: str, reached: tuple[int, int]) -> None:
        """Publish the newest committed batch if a crash prevented it, and delete older uncommitted batches.

        reached: committed offsets of events and outcomes. A pending file beyond them is kept, since it may belong to a
        successor that has just committed it.
        """
        if committed:
            self.publish(committed)
        for path, name in self._pending(partition):
            if (name.events.end, name.outcomes.end) <= reached:
                path.unlink(missing_ok=True)

    def clear(self, partition: int) -> None:
        """Delete the pending files of a partition that is done."""
        for path, _name in self._pending(partition):
            path.unlink(missing_ok=True)

    def _pending(self, partition: int) -> Iterator[tuple[Path, FileName]]:
        for subfolder in _FOLDERS.values():
            for path in (self.folder / subfolder).glob(f".{partition:05d}-*.pending"):
                name = FileName.parse(path.name)
                if name is not None:
                    yield path, name

    def check(self, partition: int, span: Span, counts: Mapping[str, int]) -> None:
        """Raise OutputError unless the score files cover these event offsets exactly once and no rows are missing.

        counts: expected number of rows by kind of file; other kinds are not counted.
        """
        self._check_coverage(partition, span)
        for subfolder, wanted in counts.items():
            paths = (self.folder / subfolder).glob(f"{partition:05d}-*.parquet")
            found = sum(pq.read_metadata(path).num_rows for path in paths)
            if found != wanted:
                raise OutputError(
                    f"{self.folder / subfolder} has {found} rows of partition {partition}, but {wanted} were written: "
                    "files were deleted or changed. Start again with another id and folder."
                )

    def _check_coverage(self, partition: int, span: Span) -> None:
        reached = span.start
        for name in self._names(partition):
            if name.events.start != reached:
                raise OutputError(
                    f"{self.folder}: partition {partition} has a file from offset {name.events.start}, but {reached} "
                    "is expected next. Were some files written to another machine's folder? All machines need one."
                )
            reached = name.events.end
        if reached != span.end:
            raise OutputError(
                f"{self.folder}: the files of partition {partition} end at offset {reached} instead of {span.end}."
            )

    def scores(self, partition: int, start: int) -> Iterator[tuple[int, float, float]]:
        """Yield (offset, y_hat, z_hat) of published scores by increasing offset, from the batch of an event on."""
        for name in self._names(partition):
            if name.events.end <= start:
                continue
            columns = ["source_offset", "y_hat", "z_hat"]
            table = pq.read_table(self.folder / SCORES / name.final, columns=columns)
            yield from zip(*(table[column].to_pylist() for column in columns), strict=True)

    def _names(self, partition: int) -> list[FileName]:
        paths = (self.folder / SCORES).glob(f"{partition:05d}-*.parquet")
        found = (FileName.parse(path.name) for path in paths)
        return sorted((name for name in found if name is not None), key=lambda name: name.events)


def _table(kind: type[Record], rows: Sequence[Any]) -> pa.Table:
    """Convert records to columns without creating a dictionary per record."""
    arrays = {
        column: pa.array([get(row) for row in rows], type=data_type)
        for column, (get, data_type) in _GETTERS[kind].items()
    }
    return pa.table(arrays)


_GETTERS = {
    kind: {column: (attrgetter(path), data_type) for column, (path, data_type) in columns.items()}
    for kind, columns in _COLUMNS.items()
}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
