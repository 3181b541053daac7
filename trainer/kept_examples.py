"""The examples of a request in progress, saved in its work folder until the request is completed.

A resumed training must use the same examples. A second read of the same ranges may return others: retention may have
deleted the oldest, and changed settings may split them differently.
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
class Split:
    """The examples for training, for validation and for the gate."""

    train: Sequence[Example]
    valid: Sequence[Example]
    gate: Sequence[Example]


def save(folder: Path, split: Split) -> None:
    """Write the split into the folder, atomically and readable by the owner only. Raises OSError."""
    rows = [
        {_PART: part.name, **asdict(example)}
        for part in fields(split)
        for example in getattr(split, part.name)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{_FILE}.part"
    partial.unlink(missing_ok=True)
    with open(partial, "xb", opener=_open_private) as file:
        # Consecutive snapshots share much of their content, so they compress well.
        pq.write_table(pa.Table.from_pylist(rows), file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / _FILE)


def load(folder: Path) -> Split | None:
    """Return the saved split, in the saved order; None if the file is missing or unreadable."""
    with contextlib.suppress(OSError, pa.ArrowException, KeyError, TypeError):
        rows = pq.read_table(folder / _FILE).to_pylist()
        found: dict[str, list[Example]] = {part.name: [] for part in fields(Split)}
        for row in rows:
            found[row.pop(_PART)].append(Example(**row))
        return Split(**found)
    return None


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
