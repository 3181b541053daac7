"""Streaming readers of Parquet, CSV and JSONL rows, for files of any size."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sway.errors import CommandError


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file, or the reason why it cannot be read.

    line: line number from 1, counting the header; in a Parquet file the row number. position: progress in the file,
    in the unit of RowFile.size.
    """

    line: int
    position: int
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


class RowFile(Protocol):
    """A file of rows. columns: the column names; empty if each row may have its own."""

    columns: tuple[str, ...]
    size: int

    def rows(self) -> Iterator[Row]:
        """Yield all rows. Raises CommandError if reading fails."""
        ...


def open_rows(path: Path) -> RowFile:
    """Open a file by its extension: .parquet, .csv, .jsonl or .ndjson.

    Raises CommandError if the file cannot be opened or has another extension.
    """
    extension = path.suffix.lower()
    try:
        if extension == ".parquet":
            # Imported here because Arrow takes a quarter of a second to import.
            from sway.files.parquet import ParquetRows

            return ParquetRows(path)
        if extension == ".csv":
            return CsvRows(path)
        if extension in {".jsonl", ".ndjson"}:
            return JsonLines(path)
    except (OSError, ValueError, csv.Error) as exc:
        raise CommandError(f"cannot read {path}: {exc}") from exc
    raise CommandError(f"{path} is not a .parquet, .csv or .jsonl file: rename or convert it")


class CsvRows:
    """A UTF-8 CSV file with a header, as written by Excel and pandas."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size
        with path.open(encoding="utf-8-sig", newline="") as file:
            self.columns = tuple(next(csv.reader(file), ()))
        if not self.columns:
            raise CommandError(f"{path} has no header: its first line must name the columns")

    def rows(self) -> Iterator[Row]:
        """See RowFile."""
        line = 0
        try:
            with self._path.open("rb") as raw:
                text = io.TextIOWrapper(raw, "utf-8-sig", newline="")
                lines = csv.reader(text)
                # Skip the header.
                next(lines)
                for cells in lines:
                    # A quoted cell may span lines; a row is numbered by its last line.
                    line = lines.line_num
                    if cells:
                        yield self._row(line, raw.tell(), cells)
        except (OSError, UnicodeDecodeError, csv.Error) as exc:
            raise CommandError(f"cannot read {self._path} after line {line}: {exc}") from exc

    def _row(self, line: int, position: int, cells: list[str]) -> Row:
        if len(cells) != len(self.columns):
            problem = f"{len(cells)} cells, but the header has {len(self.columns)}"
            return Row(line, position, problem=problem)
        return Row(line, position, dict(zip(self.columns, cells, strict=True)))


class JsonLines:
    """A file with one JSON object per line."""

    columns: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def rows(self) -> Iterator[Row]:
        """See RowFile."""
        try:
            with self._path.open("rb") as file:
                for line, text in enumerate(file, start=1):
                    if not text.isspace():
                        yield _json_row(line, file.tell(), text)
        except OSError as exc:
            raise CommandError(f"cannot read {self._path}: {exc}") from exc


def _json_row(line: int, position: int, text: bytes) -> Row:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return Row(line, position, problem="not valid JSON")
    if not isinstance(values, dict):
        return Row(line, position, problem="not a JSON object")
    return Row(line, position, values)
