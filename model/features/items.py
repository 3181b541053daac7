"""A checkpoint's knowledge of items: a table of the items seen in training and a linear map for all others."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.features.keys import item_key

ITEM_DIMENSIONS = 32

FloatArray = NDArray[np.float32]


class ItemFacts(NamedTuple):
    """The table's data of one item.

    vector: float32 (32,). bias: the item's mean grade minus the mean of all grades, shrunk.
    log_outcomes: log(1 + number of outcomes).
    """

    vector: FloatArray
    bias: float
    log_outcomes: float


@dataclass(frozen=True, slots=True, eq=False)
class ItemTable:
    """M items and a last row for unknown items, with a zero vector, no bias and no outcomes.

    keys: uint64 (M,), ascending (model.features.keys.item_key). vectors: float32 (M + 1, 32); the dot product of two
    vectors estimates the correlation of the items' residuals. bias, log_outcomes: float32 (M + 1,).
    """

    keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    vectors: FloatArray = field(default_factory=lambda: np.zeros((1, ITEM_DIMENSIONS), np.float32))
    bias: FloatArray = field(default_factory=lambda: np.zeros(1, np.float32))
    log_outcomes: FloatArray = field(default_factory=lambda: np.zeros(1, np.float32))

    def rows_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows of keys (N,), int64 (N,); -1, the last row, for items that are not in the table."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.int64)
        places = np.searchsorted(self.keys, keys)
        places[places == len(self.keys)] = 0
        return np.where(self.keys[places] == keys, places, -1)

    def row_of(self, key: int) -> int:
        """Return the row of an item, or -1 if it is not in the table."""
        return int(self.rows_of(np.array([key], np.uint64))[0])

    def facts_of_row(self, row: int) -> ItemFacts:
        """Return the data of a row; -1 is the row of unknown items."""
        return ItemFacts(self.vectors[row], float(self.bias[row]), float(self.log_outcomes[row]))

    def facts(self, item_id: str) -> ItemFacts:
        """Return the data of an item, or of the unknown item if it is not in the table."""
        return self.facts_of_row(self.row_of(item_key(item_id)))


@dataclass(frozen=True, slots=True, eq=False)
class ItemMap:
    """A linear map from an item's text vector to its item vector and bias, for items that are not in the table.

    weights: float32 (d, 33). x_mean: (d,). t_mean: (33,). The last column is the bias.
    """

    weights: FloatArray
    x_mean: FloatArray
    t_mean: FloatArray

    def __call__(self, texts: FloatArray) -> FloatArray:
        """Return item vectors and biases (last column), float32 (N, 33), for text vectors (N, d)."""
        return ((texts - self.x_mean) @ self.weights + self.t_mean).astype(np.float32)

    def facts(self, text: FloatArray) -> ItemFacts:
        """Return the estimated data of an item from its text vector, (d,)."""
        row = self(text[None])[0]
        return ItemFacts(row[:-1], float(row[-1]), 0.0)


NO_ITEMS = ItemTable()
UNKNOWN_ITEM = NO_ITEMS.facts_of_row(-1)
