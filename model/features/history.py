"""A user's window before the behaviour being scored, as columns."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

UNKNOWN = float("nan")
PAST_BYTES = 12  # y, z and the residual as float32, beside what a window entry holds today: time, item, text
PAST_COLUMNS = 4  # of what a network reads of a behaviour beside its vectors: known, grade, residual, log gap


class Past(NamedTuple):
    """One behaviour of a window. y, z, residual: float32, NaN while the outcome is not known."""

    at_ms: int
    item_id: str
    y: float = UNKNOWN
    z: float = UNKNOWN
    residual: float = UNKNOWN

    @property
    def known(self) -> bool:
        """Whether its outcome is known."""
        return self.residual == self.residual  # only NaN differs from itself


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """H behaviours, oldest first.

    at_s: float64 (H,). known: bool (H,). y, z, residual: float64 (H,), 0 where the outcome is not known.
    """

    item_ids: tuple[str, ...]
    at_s: NDArray[np.float64]
    known: NDArray[np.bool_]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    residual: NDArray[np.float64]

    @classmethod
    def of(cls, pasts: Iterable[Past]) -> Self:
        """Make columns of the behaviours of a window, oldest first."""
        pasts = list(pasts)
        table = np.array(
            [(past.at_ms, past.y, past.z, past.residual) for past in pasts], dtype=np.float64
        ).reshape(-1, 4)
        known = table[:, 3] == table[:, 3]  # only NaN differs from itself
        y, z, residual = np.where(known, table[:, 1:].T, 0.0)
        return cls(tuple(past.item_id for past in pasts), table[:, 0] / 1000, known, y, z, residual)

    def __len__(self) -> int:
        return len(self.item_ids)
