"""The bootstrap, vectorised: samples drawn with replacement, as how often each row stands in each. Pure.

What is drawn are users, each with all their rows: the rows of one user resemble each other, so drawing rows
would make an interval too narrow. Where rows carry no user, or all the same one, rows are drawn.

Source: B. Efron, 1979, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7; by
clusters: A. C. Davison and D. V. Hinkley, 1997, "Bootstrap Methods and their Application", section 3.8.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_CHUNK_CELLS = 2_000_000  # samples times rows at once: 16 MB an array


@dataclass(frozen=True, slots=True)
class Units:
    """What is drawn. of_row: int64 (N,), each row's unit, 0 to size - 1. are_users: or else rows."""

    of_row: NDArray[np.int64]
    size: int
    are_users: bool


def units(user_ids: NDArray[np.str_] | None, rows: int) -> Units:
    """Return users as units if there are two or more, else rows."""
    if user_ids is not None:
        names, of_row = np.unique(user_ids, return_inverse=True)
        if len(names) > 1:
            return Units(of_row.astype(np.int64), len(names), are_users=True)
    return Units(np.arange(rows), rows, are_users=False)


def draws(units: Units, samples: int, seed: int) -> Iterator[FloatArray]:
    """Yield, in chunks, how often each unit was drawn: float64 (C, U), C samples at a time.

    The same units, samples and seed give the same draws.
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
    """The AUC of rows that stand in a sample any number of times, for many samples at once.

    scores, positive: (N,).
    """

    def __init__(self, scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> None:
        self._order = np.argsort(scores, kind="stable")
        ordered = scores[self._order]
        self._positive = positive[self._order]
        new_score = np.concatenate(([True], np.diff(ordered) != 0))[: len(ordered)]
        self._starts = np.flatnonzero(new_score)  # of each run of equal scores

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Return the AUCs, float64 (C,), for weights (C, N); NaN where a sample is of one class."""
        ordered = weights[:, self._order]
        positives = np.add.reduceat(ordered * self._positive, self._starts, axis=1)  # (C, distinct scores)
        negatives = np.add.reduceat(ordered * ~self._positive, self._starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2  # ties count half
        pairs = positives.sum(1) * negatives.sum(1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that says "one class"
            found: FloatArray = (positives * below).sum(1) / pairs
        return found


def interval(values: FloatArray, confidence: float) -> tuple[float, float]:
    """Return the middle share of the values, by percentiles; those that are not defined are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, (tail, 1 - tail))
    return float(low), float(high)
