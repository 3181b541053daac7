"""Small runs of scores: as rows with defaults, as tables, and as a replay's files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.records import InfluenceScore, Source
from sway.compare.scores import Scores, cast_to_schema

Row = dict[str, Any]

_TIME = pa.timestamp("ms", "UTC")
_TYPES: dict[str, pa.DataType] = {
    "event_id": pa.string(),
    "user_id": pa.string(),
    "item_id": pa.string(),
    "y_hat": pa.float64(),
    "z_hat": pa.float64(),
    "influence": pa.float64(),
    "model_version": pa.dictionary(pa.int32(), pa.string()),
    "dtype": pa.string(),
    "behaviours": pa.int32(),
    "truncated": pa.bool_(),
    "duplicate": pa.bool_(),
    "source_topic": pa.string(),
    "source_partition": pa.int32(),
    "source_offset": pa.int64(),
    "outcomes_next": pa.int64(),
    "occurred_at": _TIME,
    "scored_at": _TIME,
}
REPLAY_SCHEMA = pa.schema(_TYPES)
"""The columns that a replay writes."""


def row(offset: int, influence: float = 0.5, *, partition: int = 0, **changes: Any) -> Row:
    """Return the score of event e<partition>-<offset>; y_hat and z_hat equal the influence unless changed."""
    return {
        "event_id": f"e{partition}-{offset}",
        "user_id": "u",
        "item_id": "i",
        "y_hat": influence,
        "z_hat": influence,
        "influence": influence,
        "model_version": "v-1",
        "dtype": "fp32",
        "behaviours": 3,
        "truncated": False,
        "duplicate": False,
        "source_topic": "sway.events",
        "source_partition": partition,
        "source_offset": offset,
        "outcomes_next": 0,
        "occurred_at": 0,
        "scored_at": 0,
    } | changes


def run(name: str, rows: Sequence[Mapping[str, Any]]) -> Scores:
    """Return rows as a run, in their order."""
    return Scores.from_table(name, cast_to_schema(name, pa.Table.from_pylist(list(rows), REPLAY_SCHEMA)))


def write(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema = REPLAY_SCHEMA) -> Path:
    """Write a Parquet file, and create its folders; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
    return path


def record(of: Row) -> InfluenceScore:
    """Return the record of a row, as a topic contains it."""
    fields = {name: value for name, value in of.items() if not name.startswith("source_")}
    return InfluenceScore(
        **fields, source=Source(of["source_topic"], of["source_partition"], of["source_offset"])
    )
