"""Vectors of the distinct behaviour texts of a data set, looked up by text key."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.features.keys import NO_KEY

Floats = NDArray[np.float32]


class BehaviourText(NamedTuple):
    """A behaviour's text, with the keys of its item and text."""

    item_key: int
    text_key: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class TextVectors:
    """U distinct behaviour texts, without outcomes, and their vectors.

    They include the empty text, which replaces every unknown text, here and in the gate.

    texts: in order of first occurrence. keys: uint64 (U,), ascending; places: int64 (U,), the row of each key.
    item_rows: the row of an item's first text, by item key. vectors: float32 (U, d). unit: vectors normalised to length
    1.
    """

    texts: Sequence[str]
    keys: NDArray[np.uint64]
    places: NDArray[np.int64]
    item_rows: Mapping[int, int]
    vectors: Floats
    unit: Floats

    @classmethod
    def of(
        cls, behaviours: Iterable[BehaviourText], encode: Callable[[Sequence[str]], Floats]
    ) -> "TextVectors":
        """Encode each distinct text once. encode: maps N texts to vectors, float32 (N, d)."""
        rows: dict[int, int] = {}
        item_rows: dict[int, int] = {}
        texts = []
        for item, key, text in [*behaviours, BehaviourText(NO_KEY, NO_KEY, "")]:
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
        """Return a copy with other vectors, float32 (U, d)."""
        return TextVectors(self.texts, self.keys, self.places, self.item_rows, vectors, _unit(vectors))

    def rows_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows of texts by key, int64 (N,); an unknown key has the row of the empty text."""
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        # NO_KEY, the key of the empty text, sorts first.
        return self.places[np.where(self.keys[found] == keys, found, 0)]

    def cosines(self, target: int, past: NDArray[np.int64]) -> Floats:
        """Return the cosine similarity of one text row with others, float32 (H,), for rows (H,)."""
        found: Floats = self.unit[past] @ self.unit[target]
        return found

    def by_item(self) -> dict[int, Floats]:
        """Return the vector of each item's first text, by item key."""
        return {item: self.vectors[row] for item, row in self.item_rows.items()}


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Floats = vectors / np.maximum(lengths, 1e-12)
    return found
