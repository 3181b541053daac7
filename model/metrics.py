"""Quality metrics of scores. Depends only on NumPy, because the worker computes live quality with it.

y_hat comes from a linear head, so it can be outside [0, 1]. For the log-loss and calibration it is clipped to
[EPSILON, 1 - EPSILON]. An undefined metric, such as the AUC of a single class, is NaN.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-3
"""Clipping margin of y_hat: it limits the log-loss of a wrong prediction to 6.9 nats."""

THRESHOLD = 0.5
"""A y or y_hat of at least this value is positive."""

CALIBRATION_BINS = 10

Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix; counts may be weighted."""

    true_positives: float
    false_positives: float
    false_negatives: float
    true_negatives: float

    @property
    def accuracy(self) -> float:
        """The share of correct predictions."""
        right = self.true_positives + self.true_negatives
        return _share(right, right + self.false_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """The share of predicted positives that are positive."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """The share of positives that are predicted as positive."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _share(
            2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives
        )


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (x, y), float64 (P,) each, in the order of descending thresholds."""

    x: FloatArray
    y: FloatArray


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    """Mean prediction, mean outcome and rows per bin: float64 (B,) each, ascending, without empty bins."""

    predicted: FloatArray
    observed: FloatArray
    counts: FloatArray


def auc(scores: Floats, positive: Flags) -> float:
    """Return the area under the ROC curve: the probability that a positive scores above a negative; ties count half.

    scores, positive: (N,). NaN if only one class is present.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # mean rank of each distinct score, from 1
    return float((ranks[inverse][positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def ranks_by_group(values: Floats, groups: NDArray[np.int64]) -> FloatArray:
    """Return each row's rank within its group, from 1, float64 (N,); ties get their mean rank.

    groups: (N,), each row's group, 0 to G - 1.
    """
    order = np.lexsort((values, groups))
    values, groups = values[order], groups[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (values[1:] != values[:-1]) | (groups[1:] != groups[:-1])
    runs = np.cumsum(new) - 1  # (N,), index of the run of equal values
    lengths = np.bincount(runs)
    middles = np.cumsum(lengths) - (lengths - 1) / 2  # mean position of each run, from 1
    rows = np.bincount(groups)
    before = np.cumsum(rows) - rows  # rows in all preceding groups
    ranks = np.empty(len(order))
    ranks[order] = middles[runs] - before[groups]
    return ranks


def mse(y_hat: Floats, y: Floats) -> float:
    """Return the mean squared error of unclipped y_hat; NaN without rows."""
    return _mean((y_hat.astype(np.float64) - y) ** 2)


def log_losses(y_hat: Floats, y: Floats) -> FloatArray:
    """Return each row's log-loss in nats with clipped y_hat, float64 (N,). y may be a probability."""
    p = clipped(y_hat)
    losses: FloatArray = -(y * np.log(p) + (1 - y) * np.log1p(-p))
    return losses


def log_loss(y_hat: Floats, y: Floats) -> float:
    """Return the mean log-loss in nats, with y_hat clipped to [EPSILON, 1 - EPSILON]; NaN without rows."""
    return _mean(log_losses(y_hat, y))


def confusion(y_hat: Floats, positive: Flags) -> Confusion:
    """Return the confusion matrix at THRESHOLD."""
    predicted = y_hat >= THRESHOLD
    return Confusion(
        float((predicted & positive).sum()),
        float((predicted & ~positive).sum()),
        float((~predicted & positive).sum()),
        float((~predicted & ~positive).sum()),
    )


def positive_rate(positive: Flags) -> float:
    """Return the share of positives; NaN without rows."""
    return _mean(positive)


def calibration_bins(y_hat: Floats, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Return each row's bin by y_hat, int64 (N,). Bins have equal numbers of rows; equal y_hat share a bin.

    Most bins of equal width would have few rows, because few predictions are below .2 or above .9.
    """
    _, inverse, counts = np.unique(y_hat, return_inverse=True, return_counts=True)
    first_places = np.cumsum(counts) - counts
    binned: NDArray[np.int64] = first_places[inverse] * bins // max(len(y_hat), 1)
    return binned


def calibration_curve(y_hat: Floats, y: Floats, bins: int = CALIBRATION_BINS) -> CalibrationCurve:
    """Return the mean clipped y_hat and the mean y in bins of equal numbers of rows."""
    binned = calibration_bins(y_hat, bins)
    counts = np.bincount(binned, minlength=bins)
    predicted = np.bincount(binned, clipped(y_hat), bins)
    observed = np.bincount(binned, y, bins)
    full = counts > 0
    return CalibrationCurve(
        predicted[full] / counts[full], observed[full] / counts[full], counts[full].astype(np.float64)
    )


def calibration_error(y_hat: Floats, y: Floats, bins: int = CALIBRATION_BINS) -> float:
    """Return the expected calibration error: the mean |predicted - observed| over bins, weighted by their rows.

    NaN without rows. Source: M. Pakdaman Naeini et al., 2015, "Obtaining Well Calibrated Probabilities Using
    Bayesian Binning", AAAI; here with bins of equal numbers of rows.
    """
    curve = calibration_curve(y_hat, y, bins)
    if not len(curve.counts):
        return float("nan")
    return float(np.average(np.abs(curve.predicted - curve.observed), weights=curve.counts))


def roc_curve(scores: Floats, positive: Flags) -> Curve:
    """Return false positive rates (x) and true positive rates (y), from (0, 0) to (1, 1).

    One point per distinct score. NaN along an axis whose class has no rows.
    """
    true, false = _counts_by_threshold(scores, positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Curve(np.concatenate(([0.0], false)) / false[-1:], np.concatenate(([0.0], true)) / true[-1:])


def precision_recall_curve(scores: Floats, positive: Flags) -> Curve:
    """Return recalls (x) and precisions (y), one point per distinct score, recall ascending."""
    true, false = _counts_by_threshold(scores, positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Curve(true / true[-1:], true / (true + false))


def clipped(y_hat: Floats) -> FloatArray:
    """Return y_hat clipped to [EPSILON, 1 - EPSILON], float64."""
    return np.clip(y_hat.astype(np.float64), EPSILON, 1 - EPSILON)


def _counts_by_threshold(scores: Floats, positive: Flags) -> tuple[FloatArray, FloatArray]:
    """Return the numbers of positives and negatives at or above each distinct score, highest score first."""
    _, inverse, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    positives = np.bincount(inverse, positive, len(counts))
    return np.cumsum(positives), np.cumsum(counts - positives)


def _mean(values: NDArray[np.generic]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")  # type: ignore[arg-type]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
