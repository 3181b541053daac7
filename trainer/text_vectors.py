"""A vector for each distinct behaviour text of a data set, made once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.records import BehaviorEvent

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class TextVectors:
    """U distinct texts of behaviours as they are scored, without outcomes, and their vectors.

    firsts: the first behaviour of each. rows: row by (action, item text). item_rows: row of an item's first text.
    vectors: float32 (U, d). unit: the same at length 1.
    """

    firsts: Sequence[BehaviorEvent]
    rows: Mapping[tuple[str, str], int]
    item_rows: Mapping[str, int]
    vectors: Floats
    unit: Floats

    @classmethod
    def of(
        cls, events: Iterable[BehaviorEvent], encode: Callable[[Sequence[BehaviorEvent]], Floats]
    ) -> "TextVectors":
        """Encode each distinct text once. encode: N behaviours to float32 (N, d)."""
        rows: dict[tuple[str, str], int] = {}
        item_rows: dict[str, int] = {}
        firsts = []
        for event in events:
            key = event.action, event.item_text
            if key not in rows:
                rows[key] = len(rows)
                firsts.append(event)
            if event.item_id:
                item_rows.setdefault(event.item_id, rows[key])
        vectors = encode(firsts)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return cls(tuple(firsts), rows, item_rows, vectors, vectors / np.maximum(lengths, 1e-12))

    def row(self, event: BehaviorEvent) -> int:
        """Return the row of a behaviour's text."""
        return self.rows[event.action, event.item_text]

    def cosines(self, target: int, past: NDArray[np.integer]) -> Floats:
        """Return the cosine of one text with others, float32 (H,), for rows (H,)."""
        found: Floats = self.unit[past] @ self.unit[target]
        return found

    def by_item(self) -> dict[str, Floats]:
        """Return each item's vector."""
        return {item_id: self.vectors[row] for item_id, row in self.item_rows.items()}
