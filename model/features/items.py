"""What a checkpoint knows of items, made by the trainer: one row an item.

An item that the table lacks has row -1: a vector of zeros, no bias, no outcomes. One that training never saw but whose
text is known gets a row from a map of the text's vector (trainer.item_vectors).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ITEM_DIMENSIONS = 32

FloatArray = NDArray[np.float32]


class ItemFacts(NamedTuple):
    """One item's row.

    vector: float32 (32,). bias: its mean grade less the mean of all, shrunk. log_outcomes: log(1 + how many).
    """

    vector: FloatArray
    bias: float
    log_outcomes: float


@dataclass(frozen=True, slots=True, eq=False)
class ItemTable:
    """M items, and the row of the unknown, which is the last.

    rows: item id to row. vectors: float32 (M + 1, 32); the product of two is how alike the items' residuals are.
    bias, log_outcomes: float32 (M + 1,).
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    vectors: FloatArray = field(default_factory=lambda: np.zeros((1, ITEM_DIMENSIONS), np.float32))
    bias: FloatArray = field(default_factory=lambda: np.zeros(1, np.float32))
    log_outcomes: FloatArray = field(default_factory=lambda: np.zeros(1, np.float32))

    def rows_of(self, item_ids: Iterable[str]) -> NDArray[np.int64]:
        """Return rows, int64 (N,); -1 for items that are not in the table."""
        rows = self.rows
        return np.array([rows.get(item_id, -1) for item_id in item_ids], dtype=np.int64)

    def facts(self, item_id: str) -> ItemFacts:
        """Return one item's row; that of the unknown if it is not in the table."""
        row = self.rows.get(item_id, -1)
        return ItemFacts(self.vectors[row], float(self.bias[row]), float(self.log_outcomes[row]))


NO_ITEMS = ItemTable()
UNKNOWN_ITEM = NO_ITEMS.facts("")
