"""A vectorised bootstrap: samples drawn with replacement, represented by counts. No I/O.

The units are users, each with all their rows. The rows of one user are correlated, so a bootstrap over rows would give
too narrow intervals. If users are unknown, or there is only one, the units are rows.

Source: B. Efron, 1979, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7; by
clusters: A. C. Davison and D. V. Hinkley, 1997, "Bootstrap Methods and their Application", section 3.8.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_CHUNK_CELLS = 2_000_000  # samples times rows per chunk: 16 MB per array


@dataclass(frozen=True, slots=True)
class Units:
    """The units of the bootstrap.

    of_row: int64 (N,), the unit of each row, 0 to size - 1. are_users: whether units are users, else rows.
    """

    of_row: NDArray[np.int64]
    size: int
    are_users: bool


def units(user_ids: NDArray[np.str_] | None, rows: int) -> Units:
    """Return users as the units if there are at least two, else rows."""
    if user_ids is not None:
        names, of_row = np.unique(user_ids, return_inverse=True)
        if len(names) > 1:
            return Units(of_row.astype(np.int64), len(names), are_users=True)
    return Units(np.arange(rows), rows, are_users=False)


def draws(units: Units, samples: int, seed: int) -> Iterator[FloatArray]:
    """Yield the number of draws of each unit, float64 (C, U), in chunks of C samples.

    The draws are determined by units, samples and seed.
    """
    random = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_CELLS // max(len(units.of_row), 1))
    for start in range(0, samples, chunk):
        count = min(chunk, samples - start)
        drawn = random.integers(0, units.size, (count, units.size))
        drawn += np.arange(count)[:, None] * units.size
        flat = np.bincount(drawn.ravel(), minlength=count * units.size)
        yield flat.reshape(count, units.size).astype(np.float64)


class WeightedAuc:
    """The AUC of weighted rows, for many weightings at once. scores, positive: (N,)."""

    def __init__(self, scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> None:
        self._order = np.argsort(scores, kind="stable")
        ordered = scores[self._order]
        self._positive = positive[self._order]
        new_score = np.concatenate(([True], np.diff(ordered) != 0))[: len(ordered)]
        self._starts = np.flatnonzero(new_score)  # of each run of equal scores

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Return the AUCs, float64 (C,), for weights (C, N); NaN for a sample of a single class."""
        ordered = weights[:, self._order]
        positives = np.add.reduceat(ordered * self._positive, self._starts, axis=1)  # (C, distinct scores)
        negatives = np.add.reduceat(ordered * ~self._positive, self._starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2  # ties count half
        pairs = positives.sum(1) * negatives.sum(1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, for a single class
            found: FloatArray = (positives * below).sum(1) / pairs
        return found


def interval(values: FloatArray, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of the values, without those that are not finite."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, (tail, 1 - tail))
    return float(low), float(high)
