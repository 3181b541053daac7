"""The heads in closed form: ridge regression on frozen features.

    minimise  sum_i (x_i w + b - t_i)^2 + penalty |w|^2

Each head is fitted separately. The loss is a sum over both heads, so lambda does not change either minimum.
Fine-tuning from fitted heads distorts the features less than from random ones (LP-FT).

Source: A. Kumar et al., 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.metrics import auc

PENALTIES = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)

FloatMatrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Heads:
    """Two linear heads: weight (2, d), bias (2,); row 0 is for y_hat, row 1 for z_hat."""

    weight: FloatMatrix
    bias: NDArray[np.float64]

    def predict(self, features: NDArray[np.floating]) -> FloatMatrix:
        """Return y_hat and z_hat, (N, 2), for features (N, d)."""
        predicted: FloatMatrix = features @ self.weight.T + self.bias
        return predicted


def fit_heads(features: NDArray[np.floating], labels: NDArray[np.floating], penalty: float) -> Heads:
    """Fit both heads by ridge regression.

    features: (N, d). labels: (N, 2); a row whose z is unknown (NaN) counts for y only.
    penalty: > 0, in units of the features' mean variance, so it does not depend on their scale.
    A head without any known label is zero. Raises ValueError for a penalty of 0 or less.
    """
    if penalty <= 0:
        raise ValueError(f"penalty={penalty} must be above 0")
    fitted = [_fit_one(features, labels[:, head], penalty) for head in range(labels.shape[1])]
    return Heads(np.stack([weight for weight, _ in fitted]), np.array([bias for _, bias in fitted]))


def choose_penalty(
    features: NDArray[np.floating],
    labels: NDArray[np.floating],
    *,
    held_out: float = 0.2,
    penalties: Sequence[float] = PENALTIES,
) -> tuple[float, float]:
    """Return the penalty with the lowest squared error of y on the newest rows, and its AUC there.

    features, labels: ordered by time. held_out: the share of newest rows to validate on.
    """
    cut = len(features) - max(1, round(len(features) * held_out))
    found = []
    for penalty in penalties:
        y_hat = fit_heads(features[:cut], labels[:cut], penalty).predict(features[cut:])[:, 0]
        error = float(np.mean((y_hat - labels[cut:, 0]) ** 2))
        found.append((error, penalty, auc(y_hat, labels[cut:, 0] >= 0.5)))
    _, penalty, held_out_auc = min(found)
    return penalty, held_out_auc


def _fit_one(
    features: NDArray[np.floating], target: NDArray[np.floating], penalty: float
) -> tuple[NDArray[np.float64], float]:
    known = np.isfinite(target)
    x, t = features[known].astype(np.float64), target[known].astype(np.float64)
    if not len(t):
        return np.zeros(features.shape[1]), 0.0
    mean = x.mean(axis=0)  # (d,)
    centred = x - mean  # (n, d)
    scale = centred.var(axis=0).mean() or 1.0
    gram = centred.T @ centred + penalty * scale * np.eye(x.shape[1])  # (d, d)
    weight = np.linalg.solve(gram, centred.T @ (t - t.mean()))  # (d,)
    return weight, float(t.mean() - mean @ weight)
