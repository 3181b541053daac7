"""A user's window before the behaviour being scored, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.features.keys import NO_KEY, item_key

UNKNOWN = float("nan")
# The values that a network reads of a behaviour in addition to its vectors: known, grade, residual, log gap.
PAST_COLUMNS = 4

PAST = np.dtype(
    [
        ("at_ms", "<i8"),
        ("item", "<u8"),
        ("text", "<u8"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("residual", "<f4"),
    ]
)
"""One behaviour of a window: event time, keys of item and text (model.features.keys), outcome, grade and residual.

y, z and residual are NaN while the outcome is unknown. A behaviour without a residual counts as pending.
"""

NO_PAST: NDArray[np.void] = np.zeros(0, PAST)


class Past(NamedTuple):
    """One behaviour of a window. y, z, residual: float32, NaN while the outcome is unknown."""

    at_ms: int
    item_id: str
    y: float = UNKNOWN
    z: float = UNKNOWN
    residual: float = UNKNOWN

    @property
    def known(self) -> bool:
        """Whether the outcome is known."""
        # Only NaN differs from itself.
        return self.residual == self.residual


def past_array(pasts: Sequence[Past], texts: Sequence[int] | None = None) -> NDArray[np.void]:
    """Return behaviours as an array of PAST, (H,). texts: the text keys; NO_KEY for all by default."""
    texts = texts if texts is not None else [NO_KEY] * len(pasts)
    rows = [
        (past.at_ms, item_key(past.item_id), text, past.y, past.z, past.residual)
        for past, text in zip(pasts, texts, strict=True)
    ]
    return np.array(rows, PAST)


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """H behaviours, oldest first.

    items, texts: uint64 (H,), keys. at_s: float64 (H,), event times in seconds. known: bool (H,), whether the outcome
    is known. y, z, residual: float64 (H,), 0 where the outcome is unknown.
    """

    items: NDArray[np.uint64]
    texts: NDArray[np.uint64]
    at_s: NDArray[np.float64]
    known: NDArray[np.bool_]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    residual: NDArray[np.float64]

    @classmethod
    def of(cls, past: NDArray[np.void]) -> Self:
        """Build the columns from an array of PAST, (H,), oldest first."""
        residual = past["residual"].astype(np.float64)
        # Only NaN differs from itself.
        known = residual == residual
        return cls(
            past["item"],
            past["text"],
            past["at_ms"] / 1000,
            known,
            np.where(known, past["y"].astype(np.float64), 0.0),
            np.where(known, past["z"].astype(np.float64), 0.0),
            np.where(known, residual, 0.0),
        )

    def __len__(self) -> int:
        return len(self.items)
