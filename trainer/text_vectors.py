"""A vector for each distinct behaviour text of a data set, made once and found by the text's key."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.features.keys import NO_KEY

Floats = NDArray[np.float32]


class Said(NamedTuple):
    """A behaviour that was scored: the keys of its item and its text, and the text."""

    item_key: int
    text_key: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class TextVectors:
    """U distinct texts of behaviours as they are scored, without outcomes, and their vectors.

    The empty text is one of them, and stands for every text that is not known, as it does in the gate.

    texts: in the order in which they first occur. keys: uint64 (U,), ascending; places: int64 (U,), the row of each.
    item_rows: row of an item's first text, by the item's key. vectors: float32 (U, d). unit: the same at length 1.
    """

    texts: Sequence[str]
    keys: NDArray[np.uint64]
    places: NDArray[np.int64]
    item_rows: Mapping[int, int]
    vectors: Floats
    unit: Floats

    @classmethod
    def of(cls, said: Iterable[Said], encode: Callable[[Sequence[str]], Floats]) -> "TextVectors":
        """Encode each distinct text once. encode: N texts to float32 (N, d)."""
        rows: dict[int, int] = {}
        item_rows: dict[int, int] = {}
        texts = []
        for item, key, text in [*said, Said(NO_KEY, NO_KEY, "")]:
            if key not in rows:
                rows[key] = len(rows)
                texts.append(text)
            if item:
                item_rows.setdefault(item, rows[key])
        keys = np.array(list(rows), np.uint64)
        order = np.argsort(keys)
        vectors = encode(texts)
        return cls(tuple(texts), keys[order], order, item_rows, vectors, _unit(vectors))

    def replaced(self, vectors: Floats) -> "TextVectors":
        """Return the same texts with other vectors, float32 (U, d)."""
        return TextVectors(self.texts, self.keys, self.places, self.item_rows, vectors, _unit(vectors))

    def rows_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows of texts by their keys, int64 (N,); that of the empty text for those that are not known."""
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return self.places[np.where(self.keys[found] == keys, found, 0)]  # NO_KEY is the least of all keys

    def cosines(self, target: int, past: NDArray[np.int64]) -> Floats:
        """Return the cosine of one text with others, float32 (H,), for rows (H,)."""
        found: Floats = self.unit[past] @ self.unit[target]
        return found

    def by_item(self) -> dict[int, Floats]:
        """Return each item's vector."""
        return {item: self.vectors[row] for item, row in self.item_rows.items()}


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Floats = vectors / np.maximum(lengths, 1e-12)
    return found
