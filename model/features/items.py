"""What a checkpoint knows of items, made by the trainer: one row an item, and a map for those that it never saw."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.features.keys import item_key

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
    """M items, and the row of the unknown, which is the last: a vector of zeros, no bias, no outcomes.

    keys: uint64 (M,), ascending (model.features.keys.item_key). vectors: float32 (M + 1, 32); the product of two is
    how alike the items' residuals are. bias, log_outcomes: float32 (M + 1,).
    """

    keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    vectors: FloatArray = field(default_factory=lambda: np.zeros((1, ITEM_DIMENSIONS), np.float32))
    bias: FloatArray = field(default_factory=lambda: np.zeros(1, np.float32))
    log_outcomes: FloatArray = field(default_factory=lambda: np.zeros(1, np.float32))

    def rows_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return rows, int64 (N,), for keys (N,); -1, the last, for items that are not in the table."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.int64)
        places = np.searchsorted(self.keys, keys)
        places[places == len(self.keys)] = 0
        return np.where(self.keys[places] == keys, places, -1)

    def row_of(self, key: int) -> int:
        """Return one item's row; -1 if it is not in the table."""
        return int(self.rows_of(np.array([key], np.uint64))[0])

    def facts_of_row(self, row: int) -> ItemFacts:
        """Return what a row says; -1 is the unknown."""
        return ItemFacts(self.vectors[row], float(self.bias[row]), float(self.log_outcomes[row]))

    def facts(self, item_id: str) -> ItemFacts:
        """Return one item's facts; the unknown's if it is not in the table."""
        return self.facts_of_row(self.row_of(item_key(item_id)))


@dataclass(frozen=True, slots=True, eq=False)
class ItemMap:
    """Says of an item that the table lacks what its text says: vector and bias, linear in the text's vector.

    weights: float32 (d, 33), x_mean: (d,), t_mean: (33,); the last column is the bias.
    """

    weights: FloatArray
    x_mean: FloatArray
    t_mean: FloatArray

    def __call__(self, texts: FloatArray) -> FloatArray:
        """Return vectors and, last, biases, float32 (N, 33), of items with these text vectors, (N, d)."""
        return ((texts - self.x_mean) @ self.weights + self.t_mean).astype(np.float32)

    def facts(self, text: FloatArray) -> ItemFacts:
        """Return what one text vector, (d,), says of its item."""
        row = self(text[None])[0]
        return ItemFacts(row[:-1], float(row[-1]), 0.0)


NO_ITEMS = ItemTable()
UNKNOWN_ITEM = NO_ITEMS.facts_of_row(-1)
