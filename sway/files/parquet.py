"""Parquet files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sway.errors import CommandError
from sway.files.batches import BYTES_AT_ONCE, ROWS_AT_ONCE, Batch
from sway.files.rows import Row


class ParquetFile:
    """A Parquet file. size: the number of rows."""

    complete = True

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        try:
            with pq.ParquetFile(path) as opened:
                self.columns = tuple(opened.schema_arrow.names)
                self.size = opened.metadata.num_rows
        except pa.ArrowException as exc:
            raise CommandError(f"cannot read {name}: {exc}") from exc

    def rows(self) -> Iterator[Row]:
        """See RowFile. Timestamps are milliseconds."""
        for before, batch in self._read():
            try:
                rows = _with_times_in_ms(batch).to_pylist(maps_as_pydicts="strict")
            except (ValueError, pa.ArrowException) as exc:
                raise self._unreadable(before, exc) from exc
            for number, values in enumerate(rows, start=before + 1):
                yield Row(number, number, values)

    def batches(self, wanted: Sequence[str], from_line: int = 0) -> Iterator[Batch]:
        """See RowFile. The columns are Arrow arrays."""
        size_bytes = self._path.stat().st_size
        for before, batch in self._read(list(wanted), from_line):
            row = before + batch.num_rows
            columns = {name: batch.column(name) for name in wanted}
            lines = range(before + 1, row + 1)
            yield Batch(columns, lines, size_bytes * row // self.size).from_line(from_line)

    def _read(self, columns: list[str] | None = None, from_line: int = 0) -> Iterator[tuple[int, Any]]:
        """Yield the number of rows before each record batch, and the batch; the first may begin before from_line."""
        row = 0
        try:
            with pq.ParquetFile(self._path) as opened:
                groups, row = _groups_from(opened.metadata, from_line)
                rows_at_once = _rows_at_once(opened.metadata)
                for batch in opened.iter_batches(rows_at_once, row_groups=groups, columns=columns):
                    yield row, batch
                    row += batch.num_rows
        except (OSError, ValueError, pa.ArrowException) as exc:
            raise self._unreadable(row, exc) from exc

    def _unreadable(self, row: int, exc: Exception) -> CommandError:
        return CommandError(f"cannot read {self._name} after row {row}: {exc}")


def _with_times_in_ms(batch: Any) -> Any:
    for index, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type):
            in_ms = batch.column(index).cast(pa.timestamp("ms", column.type.tz), safe=False)
            batch = batch.set_column(index, column.name, in_ms.cast(pa.int64()))
    return batch


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
    return max(1, min(ROWS_AT_ONCE, int(BYTES_AT_ONCE / max(widest, 1.0))))
