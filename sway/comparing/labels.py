"""Labels joined to scores, and the AUC of both runs on the same events. Pure."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.metrics import THRESHOLD, FloatArray, auc
from sway.comparing.scores import Rows, Scores, Words

_LABEL_TYPES: dict[str, pa.DataType] = {
    "event_id": pa.large_string(),
    "user_id": pa.large_string(),
    "y": pa.float64(),
}
LABEL_SCHEMA = pa.schema(_LABEL_TYPES)
"""What is read of a LabeledExample; a file may lack user_id."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What came of events, N rows; `source` says for a person where the labels are from.

    user_id: None if events are known by their event_id alone.
    """

    source: str
    event_id: "pa.LargeStringArray"
    user_id: "pa.LargeStringArray | None"
    y: FloatArray

    @classmethod
    def from_table(cls, source: str, table: pa.Table) -> Self:
        """Take a table with the columns of LABEL_SCHEMA, user_id or not, in its types."""
        columns: dict[str, Any] = {name: table[name].combine_chunks() for name in table.column_names}
        return cls(
            source, columns["event_id"], columns.get("user_id"), columns["y"].to_numpy(zero_copy_only=False)
        )


@dataclass(frozen=True, slots=True)
class Auc:
    """The area under the ROC curve of each run; NaN unless both classes are there."""

    a: float
    b: float


@dataclass(frozen=True, slots=True)
class Labelled:
    """The AUC of both runs on the pairs that have a label and no NaN. A y from THRESHOLD on is positive."""

    source: str
    pairs: int
    positive: int
    y_hat: Auc
    influence: Auc


def labels_of(labels: Labels, scores: Scores, rows: Rows) -> FloatArray:
    """Return the label of each row, float64 (N,), NaN where there is none; of an event's labels the last counts."""
    events = labels.event_id.dictionary_encode()
    keys = _codes(events.indices)
    asked = _codes(pc.index_in(scores.event_id.take(rows), value_set=events.dictionary))
    if labels.user_id is not None:
        users = labels.user_id.dictionary_encode()
        keys = _both(_codes(users.indices), keys, len(events.dictionary))
        asked = _both(_users(scores.user_id, users.dictionary)[rows], asked, len(events.dictionary))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    place = np.searchsorted(keys, asked, side="right") - 1
    known = place >= 0  # what is asked for and unknown is -1, before all keys
    known[known] = keys[place[known]] == asked[known]
    found = np.full(len(rows), np.nan)
    found[known] = labels.y[order[place[known]]]
    return found


def judge(labels: Labels, a: Scores, b: Scores, rows_a: Rows, rows_b: Rows) -> Labelled:
    """Measure both runs on the same labelled events. rows_a, rows_b: (P,), pair by pair the same event."""
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


def _users(users: Words, known: Any) -> Rows:
    """Return for each score the number of its user among those who are known, -1 if it is none of them."""
    number = _codes(pc.index_in(pa.array(users.values, pa.large_string()), value_set=known))
    return number[users.codes]


def _both(users: Rows, events: Rows, size: int) -> Rows:
    return np.where((users >= 0) & (events >= 0), users * size + events, -1)
