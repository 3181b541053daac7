"""Significance of a gain: Student's t-test over users. No I/O.

The rows of one user are correlated, so the unit is the user. The test is on the users' total gains, whose mean is zero
if and only if the mean gain of a row is zero. With few users it keeps its level, where a percentile bootstrap promotes
far too often. If some users have many more rows than others it is conservative, because a long-tailed sample inflates
its own standard deviation. It assumes gains that are roughly symmetric under the null hypothesis.

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
    """The mean gain of a row and its significance.

    low, high: the 95 % interval from the same t-distribution; NaN for one unit. p_value: one-sided, for the null
    hypothesis that the mean is not above the threshold.
    """

    mean: float
    low: float
    high: float
    p_value: float


def mean_gain(gains: FloatArray, units: Units, least: float = 0.0) -> Gain:
    """Test whether the mean gain of N rows is above a threshold.

    gains: float64 (N,). units: users, or rows if users are unknown. least: the threshold.
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
    """Return the one-sided p-value of a mean above zero; 1 for a single total, whose variance is unknown."""
    mean, size = totals.mean(), len(totals)
    if size < 2:
        return 1.0
    spread = totals.std(ddof=1)
    if not spread:  # t is infinite, or undefined if all totals are zero
        return float(mean <= 0)
    return float(stdtr(size - 1, -mean / (spread / np.sqrt(size))))
