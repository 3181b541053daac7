"""CSV and JSONL files, plain or gzip-compressed."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sway.errors import CommandError
from sway.files.batches import Batch, batched
from sway.files.rows import Row

# Rows of a JSONL file that are read to find its columns.
_SAMPLED_ROWS = 100


class CsvFile:
    """A UTF-8 CSV file with a header, as written by Excel and pandas. All values are strings."""

    complete = True

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self.size = path.stat().st_size
        with path.open("rb") as raw, _text(_plain(raw, path)) as text:
            self.columns = tuple(next(csv.reader(text), ()))
        if not self.columns:
            raise CommandError(f"{name} has no header: its first line must name the columns")

    def rows(self) -> Iterator[Row]:
        """See RowFile."""
        with _opened(self._path, self._name) as (raw, plain), _text(plain) as text:
            for line, cells in self._cells(text):
                if isinstance(cells, str):
                    yield Row(line, raw.tell(), problem=cells)
                else:
                    yield Row(line, raw.tell(), dict(zip(self.columns, cells, strict=True)))

    def batches(self, wanted: Sequence[str], from_line: int = 0) -> Iterator[Batch]:
        """See RowFile."""
        indexes = {name: self.columns.index(name) for name in wanted}

        def columns(rows: list[list[str]]) -> dict[str, list[str]]:
            return {name: [row[at] for row in rows] for name, at in indexes.items()}

        with _opened(self._path, self._name) as (raw, plain), _text(plain) as text:
            yield from batched(self._cells(text, from_line), columns, raw.tell)

    def _cells(self, text: io.TextIOWrapper, from_line: int = 0) -> Iterator[tuple[int, list[str] | str]]:
        """Yield the last line of each row, and its cells or its problem."""
        width = len(self.columns)
        reader = csv.reader(text)
        try:
            # Skip the header.
            next(reader, None)
            for cells in reader:
                # A quoted cell may span lines; a row is numbered by its last line.
                line = reader.line_num
                if line < from_line:
                    continue
                if len(cells) == width:
                    yield line, cells
                elif cells:
                    yield line, f"{len(cells)} cells, but the header has {width}"
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as exc:
            raise CommandError(f"cannot read {self._name} after line {reader.line_num}: {exc}") from exc


class JsonFile:
    """A file with one JSON object per line."""

    complete = False

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self.size = path.stat().st_size

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of the first rows. Raises CommandError if they cannot be read."""
        with _opened(self._path, self._name) as (_, plain):
            try:
                parsed = [_parse(line) for line in islice(plain, _SAMPLED_ROWS)]
            except (OSError, EOFError) as exc:
                raise CommandError(f"cannot read {self._name}: {exc}") from exc
        return tuple(dict.fromkeys(name for row in parsed if isinstance(row, dict) for name in row))

    def rows(self) -> Iterator[Row]:
        """See RowFile."""
        with _opened(self._path, self._name) as (raw, plain):
            for line, values in self._objects(plain):
                if isinstance(values, str):
                    yield Row(line, raw.tell(), problem=values)
                else:
                    yield Row(line, raw.tell(), values)

    def batches(self, wanted: Sequence[str], from_line: int = 0) -> Iterator[Batch]:
        """See RowFile."""

        def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
            return {name: [row.get(name) for row in rows] for name in wanted}

        with _opened(self._path, self._name) as (raw, plain):
            yield from batched(self._objects(plain, from_line), columns, raw.tell)

    def _objects(self, plain: IO[bytes], from_line: int = 0) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Yield the line of each row, and its values or its problem."""
        try:
            for line, text in enumerate(plain, start=1):
                if line >= from_line and not text.isspace():
                    yield line, _parse(text)
        except (OSError, EOFError) as exc:
            raise CommandError(f"cannot read the rest of {self._name}: {exc}") from exc


def _parse(text: bytes) -> dict[str, Any] | str:
    """Return the JSON object, or the problem of the line."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return "not valid JSON"
    return row if isinstance(row, dict) else "not a JSON object"


@contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Yield the file, whose position is the progress, and its plain content."""
    try:
        raw = path.open("rb")
    except OSError as exc:
        raise CommandError(f"cannot read {name}: {exc}") from exc
    with raw:
        yield raw, _plain(raw, path)


def _plain(raw: IO[bytes], path: Path) -> IO[bytes]:
    if path.suffix.lower() != ".gz":
        return raw
    # Imported here to keep the start of `sway --help` short.
    from gzip import GzipFile

    return GzipFile(fileobj=raw)  # type: ignore[return-value]


def _text(plain: IO[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(plain, "utf-8-sig", newline="")
