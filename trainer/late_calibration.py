"""Calibration of a late network: a scale and a shift of each logit, folded into the output layers.

    p = sigmoid(a logit + b)    a, b: minimise the log-loss on the validation rows, a > 0

The order of scores does not change, and a checkpoint needs no extra weights. A normal prior around a = 1, b = 0
regularises the fit on few rows. It is scaled as if each user had one row, because rows of one user are correlated and
the newest rows belong to few users. A head whose calibration error would increase is left unchanged.

Source: J. Platt, 1999, "Probabilistic Outputs for Support Vector Machines"; C. Guo et al., 2017, "On Calibration of
Modern Neural Networks", ICML.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.late import LateNetwork
from model.metrics import calibration_error, log_loss
from trainer.late import score_late
from trainer.late_batches import LateRows

FloatArray = NDArray[np.float64]

_PRIOR_DEVIATION = 0.5
_STEPS = 50
_HALVINGS = 20
_MIN_SCALE = 0.1
_MIN_ROWS = 20
_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Platt:
    """p = sigmoid(scale * logit + shift)."""

    scale: float = 1.0
    shift: float = 0.0

    def of(self, logits: FloatArray) -> FloatArray:
        """Return calibrated probabilities."""
        found: FloatArray = _sigmoid(self.scale * logits + self.shift)
        return found


NO_CHANGE = Platt()


def calibrate(
    network: LateNetwork,
    rows: LateRows,
    valid: NDArray[np.int64],
    texts: Tensor,
    users: NDArray[np.str_] | None = None,
) -> tuple[Platt, Platt]:
    """Calibrate y_hat and z_hat on validation rows, in place; return the scale and shift of each.

    valid: int64 (n,), indices of rows that the network was not fitted on. texts: all text vectors. users: (n,), the
    user of each row; None treats each row as a user.
    """
    rows_per_user = 1.0 if users is None else len(valid) / max(1, len(np.unique(users)))
    predicted = score_late(network, rows, valid, texts).astype(np.float64)  # (n, 2)
    wanted = torch.stack([rows.y[valid], rows.z[valid]], 1).double().numpy()
    found = []
    for head in range(2):
        known = ~np.isnan(wanted[:, head])
        platt = fit_platt(_logit(predicted[known, head]), wanted[known, head], rows_per_user)
        _fold(network, head, platt)
        found.append(platt)
    return found[0], found[1]


def fit_platt(logits: FloatArray, wanted: FloatArray, rows_per_user: float = 1.0) -> Platt:
    """Return the scale and shift that minimise the log-loss, or NO_CHANGE if they do not improve it.

    logits, wanted: (n,), wanted in [0, 1]. rows_per_user: the mean number of rows per user, which scales the prior.
    """
    if len(logits) < _MIN_ROWS:
        return NO_CHANGE
    found = _newton(np.stack([logits, np.ones_like(logits)], 1), wanted, rows_per_user)
    platt = Platt(float(found[0]), float(found[1]))
    before, after = NO_CHANGE.of(logits), platt.of(logits)
    if not (np.isfinite(found).all() and platt.scale >= _MIN_SCALE):
        return NO_CHANGE
    worse = log_loss(after, wanted) > log_loss(before, wanted)
    is_off = calibration_error(after, wanted) > calibration_error(before, wanted)
    return NO_CHANGE if worse or is_off else platt


def _newton(x: FloatArray, wanted: FloatArray, rows_per_user: float) -> FloatArray:
    """Return the minimum of log-loss plus prior, (2,), by Newton's method with step halving.

    x: (n, 2), logits and ones. The objective is convex.
    """
    prior, precision = np.array([1.0, 0.0]), np.eye(2) * rows_per_user / _PRIOR_DEVIATION**2

    def objective(at: FloatArray) -> float:
        logits, away = x @ at, at - prior
        return float((np.logaddexp(0, logits) - wanted * logits).sum() + away @ precision @ away / 2)

    found, value = prior.copy(), objective(prior)
    for _ in range(_STEPS):
        p = _sigmoid(x @ found)
        gradient = x.T @ (p - wanted) + precision @ (found - prior)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + precision, gradient)
        tried = [found - step / 2**halved for halved in range(_HALVINGS)]
        better = next(((at, objective(at)) for at in tried if objective(at) < value), None)
        if better is None:
            break
        found, value = better
    return found


def _fold(network: LateNetwork, head: int, platt: Platt) -> None:
    """Scale and shift the logit of one head, which is the sum of two layers' outputs."""
    with torch.no_grad():
        for layer, shift in ((network.output, platt.shift), (network.fusion_output, 0.0)):
            layer.weight[head] *= platt.scale
            layer.bias[head] = platt.scale * layer.bias[head] + shift


def _logit(p: FloatArray) -> FloatArray:
    p = np.clip(p, _EDGE, 1 - _EDGE)
    found: FloatArray = np.log(p) - np.log1p(-p)
    return found


def _sigmoid(x: FloatArray) -> FloatArray:
    found: FloatArray = 1 / (1 + np.exp(-np.clip(x, -30, 30)))
    return found
