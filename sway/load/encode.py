"""Encoding of batches to Kafka keys, values and timestamps."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from schemas.columns import Column, ColumnWriter, cut
from sway.files.batches import InvalidRow


@dataclass(slots=True)
class Encoded:
    """The encoded records of a batch in row order, and its invalid rows."""

    keys: list[bytes]
    values: list[bytes]
    times_ms: list[int]
    lines: Any
    bad: list[InvalidRow] = field(default_factory=list)

    def add(self, line: int, key: bytes, value: bytes, time_ms: int) -> None:
        """Append a record."""
        self.lines.append(line)
        self.keys.append(key)
        self.values.append(value)
        self.times_ms.append(time_ms)


def encode(
    writer: ColumnWriter, columns: dict[str, Column], lines: Any, time_field: str, bad: list[InvalidRow]
) -> Encoded:
    """Encode converted columns; bad: the invalid rows of the batch, passed through."""
    count = len(lines)
    if not any(isinstance(column, pa.Array) for column in columns.values()):
        # All columns are constants: repeat one, so that the row count is known.
        columns["user_id"] = pa.repeat(columns["user_id"], count)
    keys, times = columns["user_id"], columns[time_field]
    return Encoded(
        cut(keys) if isinstance(keys, pa.Array) else [keys.as_py().encode()] * count,
        writer.write(list(columns.values())),
        times.to_numpy().tolist() if isinstance(times, pa.Array) else [times.as_py()] * count,
        lines,
        bad,
    )
