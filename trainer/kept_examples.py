"""The examples of a request that is under way, kept in its work folder until the request has come to its end.

A training that resumes must learn from what it began with. Read again, the same ranges may give other examples:
retention takes the older ones, and a setting may have changed how they are split.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.dataset import Example

_FILE = "examples.parquet"
_PART = "part"


@dataclass(frozen=True, slots=True)
class Parts:
    """Examples by what they are for."""

    train: Sequence[Example]
    valid: Sequence[Example]
    gate: Sequence[Example]


def keep(folder: Path, parts: Parts) -> None:
    """Write the parts into the folder, whole or not at all; only their owner can read them. Raises OSError."""
    rows = [
        {_PART: part.name, **asdict(example)}
        for part in fields(parts)
        for example in getattr(parts, part.name)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"{_FILE}.part"
    half.unlink(missing_ok=True)
    with open(half, "xb", opener=_private) as file:
        pq.write_table(
            pa.Table.from_pylist(rows), file, compression="zstd"
        )  # snapshots hold much of each other
        file.flush()
        os.fsync(file.fileno())
    half.replace(folder / _FILE)


def load(folder: Path) -> Parts | None:
    """Return the parts that were kept, order kept; None if there are none, or if they cannot be read any more."""
    with contextlib.suppress(OSError, pa.ArrowException, KeyError, TypeError):
        rows = pq.read_table(folder / _FILE).to_pylist()
        found: dict[str, list[Example]] = {part.name: [] for part in fields(Parts)}
        for row in rows:
            found[row.pop(_PART)].append(Example(**row))
        return Parts(**found)
    return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
