"""Rows of a Parquet file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sway.errors import CommandError
from sway.files.text import Row

_ROWS_AT_ONCE = 10_000


class ParquetRows:
    """A Parquet file, as a RowFile. Timestamp columns are converted to milliseconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with pq.ParquetFile(path) as file:
            self.columns = tuple(file.schema_arrow.names)
            self.size = file.metadata.num_rows

    def rows(self) -> Iterator[Row]:
        """Yield all rows. Raises CommandError if reading fails."""
        number = 0
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(_ROWS_AT_ONCE):
                    for values in _with_times_in_ms(batch).to_pylist(maps_as_pydicts="strict"):
                        number += 1
                        yield Row(number, number, values)
        except (OSError, ValueError, pa.ArrowException) as exc:
            raise CommandError(f"cannot read {self._path} after row {number}: {exc}") from exc


def _with_times_in_ms(batch: Any) -> Any:
    for index, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type):
            in_ms = batch.column(index).cast(pa.timestamp("ms", column.type.tz), safe=False)
            batch = batch.set_column(index, column.name, in_ms.cast(pa.int64()))
    return batch
