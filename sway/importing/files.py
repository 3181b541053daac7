"""Which files are imported, in which order, and where to start."""

import re
from dataclasses import dataclass
from pathlib import Path

from sway.errors import CommandError

FORMATS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file to import. name: relative to the folder, with slashes; it names rows, in errors and in ids."""

    path: Path
    name: str

    @property
    def format(self) -> str:
        """Its extension, without .gz."""
        return Path(self.name.lower().removesuffix(".gz")).suffix


@dataclass(frozen=True, slots=True)
class Place:
    """A row of a file, by its line as errors give it (in a Parquet file the row's number from 1)."""

    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.name}:{self.line}"


def find_files(source: Path, pattern: str | None = None) -> list[LogFile]:
    """Return all files of the formats below a folder, or the one file, by path; part 2 comes before part 10.

    pattern: a glob below the folder, such as `2024-*/**/*.csv`, in place of everything.
    Raises CommandError if there is none, or the pattern finds a file of another format.
    """
    if source.is_file():
        files = [LogFile(source, source.name)]
    elif source.is_dir():
        files = _below(source, pattern)
    else:
        raise CommandError(f"there is no file or folder {source}")
    strange = [file.name for file in files if not file.name.lower().endswith(FORMATS)]
    if strange:
        raise CommandError(f"{strange[0]} is none of {', '.join(FORMATS)}: rename or convert it")
    if not files:
        raise CommandError(f"{source} holds no file that ends in {', '.join(FORMATS)}")
    return files


def parse_place(text: str, files: list[LogFile]) -> Place:
    """Return the place that a text like part-2.csv:1000 names. Raises CommandError if it is no row of these files."""
    name, _, line = text.rpartition(":")
    if not line.isdecimal() or name not in {file.name for file in files}:
        raise CommandError(
            f"--from is {text!r}; it is FILE:ROW, as the end of an import says it, with one of the files "
            f"{', '.join(file.name for file in files[:3])}{', …' if len(files) > 3 else ''}"
        )
    return Place(name, int(line))


def _below(folder: Path, pattern: str | None) -> list[LogFile]:
    if pattern is None:
        found = [path for path in folder.rglob("*") if path.name.lower().endswith(FORMATS)]
    else:
        try:
            found = list(folder.glob(pattern))
        except (ValueError, NotImplementedError) as exc:
            raise CommandError(
                f"--pattern is {pattern!r}: {exc}; a glob below the folder is allowed"
            ) from exc
    files = [LogFile(path, path.relative_to(folder).as_posix()) for path in found if path.is_file()]
    return sorted(files, key=lambda file: _natural(file.name))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
