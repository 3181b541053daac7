"""How far one column of numbers has moved from A to B. Pure; a NaN is never lost in a mean."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.metrics import FloatArray

EDGES = (1e-5, 1e-3, 0.01, 0.03, 0.1, 0.3)
"""Where a histogram's bins end, on either side of no movement: fixed, so that two comparisons can be compared."""

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Moved:
    """How a column differs. mean: of B - A; mean_abs to max: of |B - A|. NaN if nothing is comparable.

    not_comparable: pairs left out of all figures, since a value or the difference is no finite number.
    mean_a, mean_b: over the pairs that are left.
    """

    not_comparable: int
    mean_a: float = _NAN
    mean_b: float = _NAN
    mean: float = _NAN
    mean_abs: float = _NAN
    p50: float = _NAN
    p90: float = _NAN
    p99: float = _NAN
    max: float = _NAN


@dataclass(frozen=True, slots=True)
class Bin:
    """So many pairs moved by more than `low` and up to `high`; below zero the other way round. Infinite at the ends."""

    low: float
    high: float
    count: int


def same_bits(a: FloatArray, b: FloatArray) -> NDArray[np.bool_]:
    """Return where two columns hold the same eight bytes; -0.0 is not 0.0, and a NaN is itself."""
    same: NDArray[np.bool_] = a.view(np.int64) == b.view(np.int64)
    return same


def difference(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return B - A, float64 (N,): 0 where both are the same, infinite or NaN too; NaN where only one is NaN."""
    with np.errstate(invalid="ignore"):  # infinite less infinite
        found: FloatArray = b - a
    found[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return found


def moved(a: FloatArray, b: FloatArray) -> Moved:
    """Summarise how B differs from A, pair by pair, (N,) each."""
    found = difference(a, b)
    finite = np.isfinite(found) & np.isfinite(a)
    found = found[finite]
    if not len(found):
        return Moved(not_comparable=len(a))
    size = np.abs(found)
    p50, p90, p99, largest = (float(value) for value in np.quantile(size, (0.5, 0.9, 0.99, 1.0)))
    return Moved(
        not_comparable=len(a) - len(found),
        mean_a=float(a[finite].mean()),
        mean_b=float(b[finite].mean()),
        mean=float(found.mean()),
        mean_abs=float(size.mean()),
        p50=p50,
        p90=p90,
        p99=p99,
        max=largest,
    )


def histogram(differences: FloatArray) -> list[Bin]:
    """Count differences by sign and size, from the deepest fall to the highest rise; NaN are left out.

    Bins mirror each other: what A and B count as falls, B and A count as rises.
    """
    known = differences[~np.isnan(differences)]
    size = np.searchsorted(EDGES, np.abs(known))  # 0: within the first edge
    numbers = np.where(known < 0, -size, size) + len(EDGES)
    counts = np.bincount(numbers, minlength=2 * len(EDGES) + 1)
    ends = [-np.inf, *(-edge for edge in reversed(EDGES)), *EDGES, np.inf]
    return [Bin(low, high, n) for (low, high), n in zip(pairwise(ends), counts.tolist(), strict=True)]
