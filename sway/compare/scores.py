"""The scores of one run as columns, so that millions fit in memory without a Python object per record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sway.errors import CommandError

_DICTIONARY = pa.dictionary(pa.int32(), pa.string())
"""Dictionary encoding for repeated strings, such as topics, versions and users."""

SCORE_SCHEMA = pa.schema(
    {
        # A string column is limited to 2 GiB.
        "event_id": pa.large_string(),
        "user_id": _DICTIONARY,
        "item_id": _DICTIONARY,
        "y_hat": pa.float64(),
        "z_hat": pa.float64(),
        "influence": pa.float64(),
        "model_version": _DICTIONARY,
        "dtype": _DICTIONARY,
        "behaviours": pa.int32(),
        "truncated": pa.bool_(),
        "duplicate": pa.bool_(),
        "source_topic": _DICTIONARY,
        "source_partition": pa.int32(),
        "source_offset": pa.int64(),
    }
)
"""The columns read from an InfluenceScore; its times are not compared."""

_MAY_BE_NULL = {"item_id", "y_hat", "z_hat", "influence", "y"}

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DictionaryColumn:
    """A dictionary-encoded string column: codes int32 (N,) index values; -1 is null."""

    codes: NDArray[np.int32]
    values: Sequence[str]

    def at(self, row: int) -> str:
        """Return the string of a row, empty if null."""
        return self.values[self.codes[row]] if self.codes[row] >= 0 else ""

    def counts(self, rows: Rows) -> dict[str, int]:
        """Return the number of rows of each value, the most frequent first."""
        found = zip(self.values, np.bincount(self.codes[rows], minlength=1).tolist(), strict=False)
        return dict(sorted((one for one in found if one[1]), key=lambda one: (-one[1], one[0])))


@dataclass(frozen=True, slots=True)
class Coordinates:
    """The position of an event in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one run in reading order, N rows. run: where they come from, for display."""

    run: str
    event_id: "pa.LargeStringArray"
    user_id: DictionaryColumn
    item_id: DictionaryColumn
    y_hat: NDArray[np.float64]
    z_hat: NDArray[np.float64]
    influence: NDArray[np.float64]
    model_version: DictionaryColumn
    dtype: DictionaryColumn
    behaviours: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]
    source_topic: DictionaryColumn
    source_partition: NDArray[np.int32]
    source_offset: NDArray[np.int64]

    @classmethod
    def from_table(cls, run: str, table: pa.Table) -> Self:
        """Create from a table with the columns and types of SCORE_SCHEMA (see `cast_to_schema`).

        A null y_hat, z_hat or influence becomes NaN. Raises CommandError if the table has no rows.
        """
        if not table.num_rows:
            raise CommandError(f"{run} contains no scores to compare")
        table = table.unify_dictionaries()
        return cls(run, **{name: _plain(table[name].combine_chunks()) for name in SCORE_SCHEMA.names})

    def coordinates(self, row: int) -> Coordinates:
        """Return the position of a row's event."""
        return Coordinates(
            self.source_topic.at(row), int(self.source_partition[row]), int(self.source_offset[row])
        )

    def __len__(self) -> int:
        return len(self.source_offset)


def missing_columns(names: Sequence[str], schema: pa.Schema = SCORE_SCHEMA) -> list[str]:
    """Return the schema's columns that are absent from the names."""
    return [name for name in schema.names if name not in names]


def cast_to_schema(where: str, table: pa.Table, schema: pa.Schema = SCORE_SCHEMA) -> pa.Table:
    """Select the schema's columns and cast them to its types.

    Raises CommandError with `where` and the column if one is missing, has an incompatible type, or contains nulls where
    the record requires a value.
    """
    absent = missing_columns(table.column_names, schema)
    if absent:
        raise CommandError(f"{where} has other records: it lacks the columns {', '.join(absent)}")
    columns = []
    for field in schema:
        column = table[field.name]
        if column.null_count and field.name not in _MAY_BE_NULL:
            raise CommandError(f"{where} has {column.null_count:,} nulls in the required column {field.name}")
        try:
            columns.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
            raise CommandError(
                f"{where} has {field.name} as {column.type}, which cannot be converted to {field.type}"
            ) from exc
    return pa.table(columns, schema=schema)


def _plain(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return DictionaryColumn(codes, column.dictionary.to_pylist())
    if pa.types.is_large_string(column.type):
        return column
    return column.to_numpy(zero_copy_only=False)
