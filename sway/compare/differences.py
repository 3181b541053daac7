"""Differences of one numeric column between runs A and B. NaN values are counted, never averaged away."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.metrics import FloatArray

EDGES = (1e-5, 1e-3, 0.01, 0.03, 0.1, 0.3)
"""The edges of the histogram bins on either side of zero; fixed, so that histograms are comparable."""

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Moved:
    """Statistics of the differences of a column. All are NaN if no pair is comparable.

    not_comparable: pairs left out of all figures, because a value or the difference is not finite.
    mean_a, mean_b: means of the comparable values. mean: of B - A. mean_abs to max: of |B - A|.
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
    """The number of differences in (low, high], or in [low, high) below zero. The outer bins are unbounded."""

    low: float
    high: float
    count: int


def same_bits(a: FloatArray, b: FloatArray) -> NDArray[np.bool_]:
    """Return where two float64 columns are bitwise equal, bool (N,): -0.0 differs from 0.0, a NaN equals itself."""
    same: NDArray[np.bool_] = a.view(np.int64) == b.view(np.int64)
    return same


def difference(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return B - A, float64 (N,): 0 where both are equal, both infinite or both NaN; NaN where only one is NaN."""
    # Infinity minus infinity is NaN.
    with np.errstate(invalid="ignore"):
        found: FloatArray = b - a
    found[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return found


def moved(a: FloatArray, b: FloatArray) -> Moved:
    """Return statistics of the differences of two columns, (N,) each, pair by pair."""
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
    """Count differences by sign and size, in ascending order; NaN is left out.

    The bins are symmetric: swapping A and B mirrors the histogram.
    """
    known = differences[~np.isnan(differences)]
    # Bin 0 is within the first edge.
    size = np.searchsorted(EDGES, np.abs(known))
    numbers = np.where(known < 0, -size, size) + len(EDGES)
    counts = np.bincount(numbers, minlength=2 * len(EDGES) + 1)
    ends = [-np.inf, *(-edge for edge in reversed(EDGES)), *EDGES, np.inf]
    return [Bin(low, high, n) for (low, high), n in zip(pairwise(ends), counts.tolist(), strict=True)]
