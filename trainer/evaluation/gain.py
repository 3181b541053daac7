"""Whether a gain is more than chance: Student's t-test over users. Pure.

The rows of one user resemble each other, so the user is the unit: the test is of the users' total gains, whose mean
is zero exactly if the mean gain of a row is zero. It holds its level with few users, where a percentile bootstrap
promotes far too often, and stays below it where some users have many more rows than others: a long-tailed
sample inflates its own standard deviation. It needs gains that are about symmetric under the null.

Source: Student, 1908, "The Probable Error of a Mean", Biometrika 6; long tails: Y. Benjamini, 1983, "Is the t Test
Really Conservative When the Parent Distribution is Long-Tailed?", Journal of the American Statistical Association 78.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from trainer.evaluation.resampling import Units

FloatArray = NDArray[np.float64]

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Gain:
    """A mean gain of a row, and what the users say of it.

    low, high: its 95 % interval by the same t-distribution; NaN for one unit. p_value: the chance of a gain as clear as
    this one, or clearer, where there is none above the least.
    """

    mean: float
    low: float
    high: float
    p_value: float


def mean_gain(gains: FloatArray, units: Units, least: float = 0.0) -> Gain:
    """Test whether the mean of N rows' gains is above the least.

    gains: float64 (N,). units: the users, or the rows where no user is known.
    """
    rows = np.bincount(units.of_row, minlength=units.size)
    totals = np.bincount(units.of_row, gains, units.size)  # (U,)
    p_value = _p_value(totals - least * rows)
    mean = float(totals.sum() / rows.sum())
    if units.size < 2:
        return Gain(mean, float("nan"), float("nan"), p_value)
    half = stdtrit(units.size - 1, (1 + _CONFIDENCE) / 2) * totals.std(ddof=1) / np.sqrt(units.size)
    half_of_row = float(half / rows.mean())
    return Gain(mean, mean - half_of_row, mean + half_of_row, p_value)


def _p_value(totals: FloatArray) -> float:
    """Return the one-sided p-value of a mean above zero; 1 for a single total, which says nothing of the others."""
    mean, size = totals.mean(), len(totals)
    if size < 2:
        return 1.0
    spread = totals.std(ddof=1)
    if not spread:  # t is infinite, or not defined where no total differs from zero
        return float(mean <= 0)
    return float(stdtr(size - 1, -mean / (spread / np.sqrt(size))))
