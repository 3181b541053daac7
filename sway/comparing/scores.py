"""The scores of one run as columns: no Python object a record, so millions fit in memory. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sway.errors import CommandError

_FEW_WORDS = pa.dictionary(pa.int32(), pa.string())
"""For what repeats: a topic, a version, a user with many behaviours."""

SCORE_SCHEMA = pa.schema(
    {
        "event_id": pa.large_string(),  # string ends at 2 GiB a column
        "user_id": _FEW_WORDS,
        "item_id": _FEW_WORDS,
        "y_hat": pa.float64(),
        "z_hat": pa.float64(),
        "influence": pa.float64(),
        "model_version": _FEW_WORDS,
        "dtype": _FEW_WORDS,
        "behaviours": pa.int32(),
        "truncated": pa.bool_(),
        "duplicate": pa.bool_(),
        "source_topic": _FEW_WORDS,
        "source_partition": pa.int32(),
        "source_offset": pa.int64(),
    }
)
"""What is read of an InfluenceScore; its times play no part."""

_MAY_BE_NULL = {"item_id", "y_hat", "z_hat", "influence", "y"}

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Words:
    """A column of words that repeat: codes int32 (N,) into values; a code of -1 is no word."""

    codes: NDArray[np.int32]
    values: Sequence[str]

    def at(self, row: int) -> str:
        """Return the word of a row, empty if it has none."""
        return self.values[self.codes[row]] if self.codes[row] >= 0 else ""

    def counts(self, rows: Rows) -> dict[str, int]:
        """Return how many of the rows have which word, the most frequent first."""
        found = zip(self.values, np.bincount(self.codes[rows], minlength=1).tolist(), strict=False)
        return dict(sorted((one for one in found if one[1]), key=lambda one: (-one[1], one[0])))


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where the event of a score lies."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Scores:
    """One run's scores in the order of reading, N rows; `run` says for a person where they are from."""

    run: str
    event_id: "pa.LargeStringArray"
    user_id: Words
    item_id: Words
    y_hat: NDArray[np.float64]
    z_hat: NDArray[np.float64]
    influence: NDArray[np.float64]
    model_version: Words
    dtype: Words
    behaviours: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]
    source_topic: Words
    source_partition: NDArray[np.int32]
    source_offset: NDArray[np.int64]

    @classmethod
    def from_table(cls, run: str, table: pa.Table) -> Self:
        """Take a table with the columns of SCORE_SCHEMA, in its types (see `fitted`).

        A null y_hat, z_hat or influence becomes NaN. Raises CommandError if the table has no rows.
        """
        if not table.num_rows:
            raise CommandError(f"{run} holds no scores, so there is nothing to compare")
        table = table.unify_dictionaries()
        return cls(run, **{name: _plain(table[name].combine_chunks()) for name in SCORE_SCHEMA.names})

    def coordinates(self, row: int) -> Coordinates:
        """Return where the event of a row lies."""
        return Coordinates(
            self.source_topic.at(row), int(self.source_partition[row]), int(self.source_offset[row])
        )

    def __len__(self) -> int:
        return len(self.source_offset)


def missing_columns(names: Sequence[str], schema: pa.Schema = SCORE_SCHEMA) -> list[str]:
    """Return the columns of the schema that are not among the names."""
    return [name for name in schema.names if name not in names]


def fitted(where: str, table: pa.Table, schema: pa.Schema = SCORE_SCHEMA) -> pa.Table:
    """Return the schema's columns in the schema's types.

    Raises CommandError, naming `where` and the column, if one is missing, of another kind, or null where a
    record always has a value.
    """
    absent = missing_columns(table.column_names, schema)
    if absent:
        raise CommandError(f"{where} holds no such records: it lacks the columns {', '.join(absent)}")
    columns = []
    for field in schema:
        column = table[field.name]
        if column.null_count and field.name not in _MAY_BE_NULL:
            raise CommandError(
                f"{where} has {column.null_count:,} nulls in {field.name}, which is always set"
            )
        try:
            columns.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
            raise CommandError(
                f"{where} has {field.name} as {column.type}, which cannot be read as {field.type}"
            ) from exc
    return pa.table(columns, schema=schema)


def _plain(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return Words(codes, column.dictionary.to_pylist())
    if pa.types.is_large_string(column.type):
        return column
    return column.to_numpy(zero_copy_only=False)
