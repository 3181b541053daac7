"""Readers of log files as column batches of bounded size."""

import csv
import gzip
import io
import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from sway.errors import CommandError
from sway.load.log_files import LogFile

ROWS_AT_ONCE = 10_000
_BYTES_AT_ONCE = 8 * 1_048_576
# Rows of a JSONL file that are read to find its columns.
_SAMPLED_ROWS = 100
# Rows between two checks of the batch size in bytes.
_CHECK_EVERY = 256

Values: TypeAlias = Any
"""The N values of a column: an Arrow array, or a list of Python values."""

InvalidRow: TypeAlias = tuple[int, str]
"""A line number and the problem of its row."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of a file.

    columns: the values by column name. lines: the last line of each row, ascending; row numbers in a Parquet file.
    broken: rows that cannot be parsed and are not in columns. position: bytes read so far, for progress.
    """

    columns: Mapping[str, Values]
    lines: Sequence[int]
    position: int
    broken: list[InvalidRow] = field(default_factory=list)

    def from_line(self, line: int) -> "Batch":
        """Return the batch without the rows before this line."""
        first = bisect_left(self.lines, line)
        columns = {name: values[first:] for name, values in self.columns.items()}
        broken = [bad for bad in self.broken if bad[0] >= line]
        return Batch(columns, self.lines[first:], self.position, broken)


class Log(Protocol):
    """An opened log file. columns: its column names; complete: whether no row can have other columns."""

    columns: tuple[str, ...]
    complete: bool

    def batches(self, wanted: Sequence[str], from_line: int = 0) -> Iterator[Batch]:
        """Yield these columns of the rows from a line on. Raises CommandError if reading fails."""
        ...


def open_log(file: LogFile) -> Log:
    """Open a log file by its extension. Raises CommandError if it cannot be read or has duplicate columns."""
    try:
        log: Log = _LOGS[file.format](file)
    except (OSError, EOFError, ValueError, csv.Error, pa.ArrowException) as exc:
        raise CommandError(f"cannot read {file.name}: {exc}") from exc
    duplicates = sorted({name for name in log.columns if log.columns.count(name) > 1})
    if duplicates:
        raise CommandError(f"{file.name} has more than one column {', '.join(duplicates)}: rename one")
    return log


class ParquetLog:
    """A Parquet file."""

    complete = True

    def __init__(self, file: LogFile) -> None:
        self._file = file
        with pq.ParquetFile(file.path) as opened:
            self.columns = tuple(opened.schema_arrow.names)

    def batches(self, wanted: Sequence[str], from_line: int = 0) -> Iterator[Batch]:
        """See Log."""
        size, row = self._file.path.stat().st_size, 0
        try:
            with pq.ParquetFile(self._file.path) as opened:
                groups, row = _groups_from(opened.metadata, from_line)
                rows_at_once = _rows_at_once(opened.metadata)
                for batch in opened.iter_batches(rows_at_once, row_groups=groups, columns=list(wanted)):
                    lines = range(row + 1, row + 1 + batch.num_rows)
                    row += batch.num_rows
                    columns = {name: batch.column(name) for name in wanted}
                    position = size * row // opened.metadata.num_rows
                    yield Batch(columns, lines, position).from_line(from_line)
        except (OSError, ValueError, pa.ArrowException) as exc:
            raise CommandError(f"cannot read {self._file.name} after row {row}: {exc}") from exc


class CsvLog:
    """A UTF-8 CSV file with a header, plain or gzip-compressed. All values are strings."""

    complete = True

    def __init__(self, file: LogFile) -> None:
        self._file = file
        with file.path.open("rb") as raw, _text(raw, file.path) as text:
            self.columns = tuple(next(csv.reader(text), ()))
        if not self.columns:
            raise CommandError(f"{file.name} has no header: its first line must name the columns")

    def batches(self, wanted: Sequence[str], from_line: int = 0) -> Iterator[Batch]:
        """See Log."""
        indexes = {name: self.columns.index(name) for name in wanted}
        with self._file.path.open("rb") as raw, _text(raw, self._file.path) as text:
            reader = csv.reader(text)
            # Skip the header.
            next(reader)
            builder = _BatchBuilder(raw)
            failure: Exception | None = None
            while failure is None and not builder.at_end:
                try:
                    self._fill(builder, reader, from_line)
                except (OSError, EOFError, UnicodeDecodeError, csv.Error) as exc:
                    failure = exc
                rows = builder.rows
                yield builder.batch({name: [row[at] for row in rows] for name, at in indexes.items()})
            if failure is not None:
                raise CommandError(
                    f"cannot read {self._file.name} after line {reader.line_num}: {failure}"
                ) from failure

    def _fill(self, builder: "_BatchBuilder", reader: Any, from_line: int) -> None:
        width = len(self.columns)
        builder.clear()
        add, add_line = builder.rows.append, builder.lines.append
        for row, cells in enumerate(reader, start=1):
            # A quoted cell may span lines; a row is numbered by its last line.
            line = reader.line_num
            if line < from_line:
                continue
            if len(cells) == width:
                add(cells)
                add_line(line)
            elif cells:
                builder.broken.append((line, f"{len(cells)} cells, but the header has {width}"))
            if not row % _CHECK_EVERY and builder.is_full():
                return
        builder.at_end = True


class JsonLog:
    """A file with one JSON object per line, plain or gzip-compressed."""

    complete = False

    def __init__(self, file: LogFile) -> None:
        self._file = file
        with file.path.open("rb") as raw:
            parsed = (_parse(line) for line in islice(_bytes(raw, file.path), _SAMPLED_ROWS))
            self.columns = tuple(
                dict.fromkeys(name for row in parsed if isinstance(row, dict) for name in row)
            )

    def batches(self, wanted: Sequence[str], from_line: int = 0) -> Iterator[Batch]:
        """See Log."""
        with self._file.path.open("rb") as raw:
            lines = enumerate(_bytes(raw, self._file.path), start=1)
            builder = _BatchBuilder(raw)
            failure: Exception | None = None
            while failure is None and not builder.at_end:
                try:
                    _fill_from_json(builder, lines, from_line)
                except (OSError, EOFError) as exc:
                    failure = exc
                rows = builder.rows
                yield builder.batch({name: [row.get(name) for row in rows] for name in wanted})
            if failure is not None:
                raise CommandError(f"cannot read the rest of {self._file.name}: {failure}") from failure


class _BatchBuilder:
    """The rows of the next batch, collected until it is full."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._start = 0
        self.at_end = False
        self.clear()

    def clear(self) -> None:
        self._start = self._raw.tell()
        self.rows: list[Any] = []
        self.lines: list[int] = []
        self.broken: list[InvalidRow] = []

    def is_full(self) -> bool:
        count = len(self.rows) + len(self.broken)
        return count >= ROWS_AT_ONCE or self._raw.tell() - self._start >= _BYTES_AT_ONCE

    def batch(self, columns: Mapping[str, Values]) -> Batch:
        return Batch(columns, self.lines, self._raw.tell(), self.broken)


def _fill_from_json(builder: _BatchBuilder, lines: Iterator[tuple[int, bytes]], from_line: int) -> None:
    builder.clear()
    for line, text in lines:
        if line >= from_line and not text.isspace():
            row = _parse(text)
            if isinstance(row, dict):
                builder.rows.append(row)
                builder.lines.append(line)
            else:
                builder.broken.append((line, row))
        if not line % _CHECK_EVERY and builder.is_full():
            return
    builder.at_end = True


def _parse(text: bytes) -> dict[str, Any] | str:
    """Return the JSON object, or the problem of the line."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return "not valid JSON"
    return row if isinstance(row, dict) else "not a JSON object"


def _bytes(raw: IO[bytes], path: Path) -> IO[bytes]:
    return gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw  # type: ignore[return-value]


def _text(raw: IO[bytes], path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(_bytes(raw, path), "utf-8-sig", newline="")


def _groups_from(metadata: Any, from_line: int) -> tuple[list[int], int]:
    """Return the row groups from the one that contains a line on, and the number of rows before them."""
    before = 0
    for index in range(metadata.num_row_groups):
        rows = metadata.row_group(index).num_rows
        if before + rows >= from_line:
            return list(range(index, metadata.num_row_groups)), before
        before += rows
    return [], before


def _rows_at_once(metadata: Any) -> int:
    """Return the batch size in rows that keeps batches of the widest row group below the limit in bytes."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    widest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
    return max(1, min(ROWS_AT_ONCE, int(_BYTES_AT_ONCE / max(widest, 1.0))))


_LOGS: dict[str, type[Any]] = {".parquet": ParquetLog, ".csv": CsvLog, ".jsonl": JsonLog, ".ndjson": JsonLog}
