"""Batches as what Kafka takes: keys, values and times."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from schemas.columns import Column, ColumnWriter, cut
from sway.importing.batches import BadRow


@dataclass(slots=True)
class Encoded:
    """Records of a batch in the order of their rows, and the rows that have none. Times in ms."""

    keys: list[bytes]
    values: list[bytes]
    times_ms: list[int]
    lines: Any
    bad: list[BadRow] = field(default_factory=list)

    def add(self, line: int, key: bytes, value: bytes, time_ms: int) -> None:
        """Put a record behind the others."""
        self.lines.append(line)
        self.keys.append(key)
        self.values.append(value)
        self.times_ms.append(time_ms)


def encode(
    writer: ColumnWriter, columns: dict[str, Column], lines: Any, time_field: str, bad: list[BadRow]
) -> Encoded:
    """Return the records of whole columns by field, all of which fit."""
    count = len(lines)
    if not any(isinstance(column, pa.Array) for column in columns.values()):
        columns["user_id"] = pa.repeat(columns["user_id"], count)  # of constants alone
    keys, times = columns["user_id"], columns[time_field]
    return Encoded(
        cut(keys) if isinstance(keys, pa.Array) else [keys.as_py().encode()] * count,
        writer.write(list(columns.values())),
        times.to_numpy().tolist() if isinstance(times, pa.Array) else [times.as_py()] * count,
        lines,
        bad,
    )
