"""The files of an import, their order and columns, and the position to start at."""

import re
from dataclasses import dataclass
from pathlib import Path

from sway.errors import CommandError
from sway.files.opening import open_file
from sway.files.rows import RowFile

FORMATS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file to import. name: its POSIX path relative to the folder, used in messages and derived ids."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class RowPosition:
    """A row of a file. line: its line number as in messages; in a Parquet file the row number from 1."""

    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.name}:{self.line}"


def find_files(source: Path, pattern: str | None = None) -> list[LogFile]:
    """Return the one file, or all supported files below a folder in natural order (part 2 before part 10).

    pattern: a glob below the folder, such as `2024-*/**/*.csv`; None matches every supported file.
    Raises CommandError if no file is found, or the pattern matches a file of another format.
    """
    if source.is_file():
        files = [LogFile(source, source.name)]
    elif source.is_dir():
        files = _below(source, pattern)
    else:
        raise CommandError(f"there is no file or folder {source}")
    unsupported = [file.name for file in files if not file.name.lower().endswith(FORMATS)]
    if unsupported:
        raise CommandError(f"{unsupported[0]} is not one of {', '.join(FORMATS)}: rename or convert it")
    if not files:
        raise CommandError(f"{source} contains no file with the extension {', '.join(FORMATS)}")
    return files


def open_log(file: LogFile) -> RowFile:
    """Open a file. Raises CommandError if it cannot be read or has duplicate columns."""
    log = open_file(file.path, file.name)
    columns = log.columns
    duplicates = sorted({name for name in columns if columns.count(name) > 1})
    if duplicates:
        raise CommandError(f"{file.name} has more than one column {', '.join(duplicates)}: rename one")
    return log


def parse_position(text: str, files: list[LogFile]) -> RowPosition:
    """Parse a position such as part-2.csv:1000. Raises CommandError if it is malformed or names none of these files."""
    name, _, line = text.rpartition(":")
    if not line.isdecimal() or name not in {file.name for file in files}:
        raise CommandError(
            f"invalid --from {text!r}: give FILE:ROW, as an import prints it at its end, with one of the files "
            f"{', '.join(file.name for file in files[:3])}{', …' if len(files) > 3 else ''}"
        )
    return RowPosition(name, int(line))


def _below(folder: Path, pattern: str | None) -> list[LogFile]:
    if pattern is None:
        found = [path for path in folder.rglob("*") if path.name.lower().endswith(FORMATS)]
    else:
        try:
            found = list(folder.glob(pattern))
        except (ValueError, NotImplementedError) as exc:
            raise CommandError(
                f"invalid --pattern {pattern!r}: {exc}; give a glob relative to the folder"
            ) from exc
    files = [LogFile(path, path.relative_to(folder).as_posix()) for path in found if path.is_file()]
    return sorted(files, key=lambda file: _natural(file.name))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
