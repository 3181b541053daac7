"""The join of labels to scores, and the AUC of both runs on the same events."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.metrics import THRESHOLD, FloatArray, auc
from sway.compare.scores import DictionaryColumn, Rows, Scores

_LABEL_TYPES: dict[str, pa.DataType] = {
    "event_id": pa.large_string(),
    "user_id": pa.large_string(),
    "y": pa.float64(),
}
LABEL_SCHEMA = pa.schema(_LABEL_TYPES)
"""The columns read from a LabeledExample; user_id is optional in files."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of events, N rows.

    source: where the labels come from, for display. user_id: None if the label's key is event_id alone.
    """

    source: str
    event_id: "pa.LargeStringArray"
    user_id: "pa.LargeStringArray | None"
    y: FloatArray

    @classmethod
    def from_table(cls, source: str, table: pa.Table) -> Self:
        """Create from a table with the columns and types of LABEL_SCHEMA; user_id is optional."""
        columns: dict[str, Any] = {name: table[name].combine_chunks() for name in table.column_names}
        return cls(
            source, columns["event_id"], columns.get("user_id"), columns["y"].to_numpy(zero_copy_only=False)
        )


@dataclass(frozen=True, slots=True)
class Auc:
    """The area under the ROC curve of each run; NaN unless both classes are present."""

    a: float
    b: float


@dataclass(frozen=True, slots=True)
class Labelled:
    """The AUC of both runs on the pairs with a label and without NaN. A label is positive if y >= THRESHOLD."""

    source: str
    pairs: int
    positive: int
    y_hat: Auc
    influence: Auc


def labels_of(labels: Labels, scores: Scores, rows: Rows) -> FloatArray:
    """Return the label of each row, float64 (N,), NaN if it has none; the last label of an event wins."""
    events = labels.event_id.dictionary_encode()
    keys = _codes(events.indices)
    wanted = _codes(pc.index_in(scores.event_id.take(rows), value_set=events.dictionary))
    if labels.user_id is not None:
        users = labels.user_id.dictionary_encode()
        keys = _combined(_codes(users.indices), keys, len(events.dictionary))
        wanted = _combined(_users(scores.user_id, users.dictionary)[rows], wanted, len(events.dictionary))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    index = np.searchsorted(keys, wanted, side="right") - 1
    # Rows without a key have -1, which sorts before all keys.
    known = index >= 0
    known[known] = keys[index[known]] == wanted[known]
    found = np.full(len(rows), np.nan)
    found[known] = labels.y[order[index[known]]]
    return found


def judge(labels: Labels, a: Scores, b: Scores, rows_a: Rows, rows_b: Rows) -> Labelled:
    """Measure both runs on the same labelled events. rows_a, rows_b: (P,), rows of the same event at each index."""
    y = labels_of(labels, a, rows_a)
    columns = [a.y_hat[rows_a], b.y_hat[rows_b], a.influence[rows_a], b.influence[rows_b]]
    known = ~np.isnan([y, *columns]).any(axis=0)
    positive = y[known] >= THRESHOLD
    areas = [auc(column[known], positive) for column in columns]
    return Labelled(
        labels.source, len(positive), int(positive.sum()), y_hat=Auc(*areas[:2]), influence=Auc(*areas[2:])
    )


def _codes(found: Any) -> Rows:
    codes: Rows = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _users(users: DictionaryColumn, known: Any) -> Rows:
    """Return the index of each score's user among the known users, -1 if absent."""
    number = _codes(pc.index_in(pa.array(users.values, pa.large_string()), value_set=known))
    return number[users.codes]


def _combined(users: Rows, events: Rows, size: int) -> Rows:
    return np.where((users >= 0) & (events >= 0), users * size + events, -1)
