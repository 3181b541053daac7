"""Rows of a log as batches of columns, of bounded size for a file of any size."""

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
from sway.importing.files import LogFile

ROWS_AT_ONCE = 10_000
_BYTES_AT_ONCE = 8 * 1_048_576
_LOOKED_AT = 100  # rows of a JSONL file, for its columns
_LOOK_EVERY = 256  # rows between two looks at the bytes

Values: TypeAlias = Any
"""N values of one column: an Arrow array, or a list as the file's own reader gives them."""

BadRow: TypeAlias = tuple[int, str]
"""A line, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that follow each other in a file.

    columns: by the column's name. lines: where each row ends, rising; in a Parquet file its number.
    broken: rows that cannot be read, which are in no column. position: bytes of the file, for progress.
    """

    columns: Mapping[str, Values]
    lines: Sequence[int]
    position: int
    broken: list[BadRow] = field(default_factory=list)

    def from_line(self, line: int) -> "Batch":
        """Return the batch without the rows before a line."""
        first = bisect_left(self.lines, line)
        columns = {name: values[first:] for name, values in self.columns.items()}
        broken = [bad for bad in self.broken if bad[0] >= line]
        return Batch(columns, self.lines[first:], self.position, broken)


class Log(Protocol):
    """An opened log. columns: what it has; complete: whether that is known of all rows."""

    columns: tuple[str, ...]
    complete: bool

    def batches(self, wanted: Sequence[str], from_line: int = 0) -> Iterator[Batch]:
        """Yield the rows with these columns, from a line. Raises CommandError if it cannot be read further."""
        ...


def open_log(file: LogFile) -> Log:
    """Open a log by its format. Raises CommandError if it cannot be read, or two columns have one name."""
    try:
        log: Log = _LOGS[file.format](file)
    except (OSError, EOFError, ValueError, csv.Error, pa.ArrowException) as exc:
        raise CommandError(f"cannot read {file.name}: {exc}") from exc
    twice = sorted({name for name in log.columns if log.columns.count(name) > 1})
    if twice:
        raise CommandError(f"{file.name} has more than one column {', '.join(twice)}: rename one")
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
    """A CSV file in UTF-8 with a header, also compressed with gzip. All its values are texts."""

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
            next(reader)  # the header
            gathered = _Gathered(raw)
            failure: Exception | None = None
            while failure is None and not gathered.at_end:
                try:
                    self._fill(gathered, reader, from_line)
                except (OSError, EOFError, UnicodeDecodeError, csv.Error) as exc:
                    failure = exc
                rows = gathered.rows
                yield gathered.batch({name: [row[at] for row in rows] for name, at in indexes.items()})
            if failure is not None:
                raise CommandError(
                    f"cannot read {self._file.name} after line {reader.line_num}: {failure}"
                ) from failure

    def _fill(self, gathered: "_Gathered", reader: Any, from_line: int) -> None:
        width = len(self.columns)
        gathered.clear()
        add, add_line = gathered.rows.append, gathered.lines.append
        for row, cells in enumerate(reader, start=1):
            line = reader.line_num  # a text in quotes may span lines: the row's is its last
            if line < from_line:
                continue
            if len(cells) == width:
                add(cells)
                add_line(line)
            elif cells:
                gathered.broken.append((line, f"{len(cells)} cells, the header has {width}"))
            if not row % _LOOK_EVERY and gathered.is_full():
                return
        gathered.at_end = True


class JsonLog:
    """A file with a JSON object a line, also compressed with gzip."""

    complete = False

    def __init__(self, file: LogFile) -> None:
        self._file = file
        with file.path.open("rb") as raw:
            parsed = (_parse(line) for line in islice(_bytes(raw, file.path), _LOOKED_AT))
            self.columns = tuple(
                dict.fromkeys(name for row in parsed if isinstance(row, dict) for name in row)
            )

    def batches(self, wanted: Sequence[str], from_line: int = 0) -> Iterator[Batch]:
        """See Log."""
        with self._file.path.open("rb") as raw:
            lines = enumerate(_bytes(raw, self._file.path), start=1)
            gathered = _Gathered(raw)
            failure: Exception | None = None
            while failure is None and not gathered.at_end:
                try:
                    _fill_from_json(gathered, lines, from_line)
                except (OSError, EOFError) as exc:
                    failure = exc
                rows = gathered.rows
                yield gathered.batch({name: [row.get(name) for row in rows] for name in wanted})
            if failure is not None:
                raise CommandError(f"cannot read {self._file.name} any further: {failure}") from failure


class _Gathered:
    """Rows on their way into a batch."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._start = 0
        self.at_end = False
        self.clear()

    def clear(self) -> None:
        self._start = self._raw.tell()
        self.rows: list[Any] = []
        self.lines: list[int] = []
        self.broken: list[BadRow] = []

    def is_full(self) -> bool:
        gathered = len(self.rows) + len(self.broken)
        return gathered >= ROWS_AT_ONCE or self._raw.tell() - self._start >= _BYTES_AT_ONCE

    def batch(self, columns: Mapping[str, Values]) -> Batch:
        return Batch(columns, self.lines, self._raw.tell(), self.broken)


def _fill_from_json(gathered: _Gathered, lines: Iterator[tuple[int, bytes]], from_line: int) -> None:
    gathered.clear()
    for line, text in lines:
        if line >= from_line and not text.isspace():
            row = _parse(text)
            if isinstance(row, dict):
                gathered.rows.append(row)
                gathered.lines.append(line)
            else:
                gathered.broken.append((line, row))
        if not line % _LOOK_EVERY and gathered.is_full():
            return
    gathered.at_end = True


def _parse(text: bytes) -> dict[str, Any] | str:
    """Return the object, or what is wrong with the line."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return "no JSON"
    return row if isinstance(row, dict) else "no JSON object"


def _bytes(raw: IO[bytes], path: Path) -> IO[bytes]:
    return gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw  # type: ignore[return-value]


def _text(raw: IO[bytes], path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(_bytes(raw, path), "utf-8-sig", newline="")


def _groups_from(metadata: Any, from_line: int) -> tuple[list[int], int]:
    """Return the row groups that hold rows from a line on, and how many rows stand before them."""
    before = 0
    for index in range(metadata.num_row_groups):
        rows = metadata.row_group(index).num_rows
        if before + rows >= from_line:
            return list(range(index, metadata.num_row_groups)), before
        before += rows
    return [], before


def _rows_at_once(metadata: Any) -> int:
    """Return how many rows stay below the bytes at once, by the widest row group."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    widest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
    return max(1, min(ROWS_AT_ONCE, int(_BYTES_AT_ONCE / max(widest, 1.0))))


_LOGS: dict[str, type[Any]] = {".parquet": ParquetLog, ".csv": CsvLog, ".jsonl": JsonLog, ".ndjson": JsonLog}
