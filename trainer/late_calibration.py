"""Calibration of a late network: a scale and a shift of each head's logit, folded into its output layers.

    p = sigmoid(a logit + b)    a, b: least log-loss on the validation rows, a > 0

So the order of scores stays, and a checkpoint needs no part of its own for it. A normal prior about a = 1, b = 0 keeps
a few rows from turning a network over. It is as strong as if each user had one row: the rows of one user resemble each
other, and the newest rows are of few users. A head whose calibration error would rise stays as it is.

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
_LEAST_SCALE = 0.1
_LEAST_ROWS = 20
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
    """Calibrate y_hat and z_hat on validation rows, in place; return what was done to each.

    valid: int64 (n,), places of rows that the network was not fitted on. texts: their vectors. users: (n,), whose each
    is; None takes each for another's.
    """
    rows_a_user = 1.0 if users is None else len(valid) / max(1, len(np.unique(users)))
    said = score_late(network, rows, valid, texts).astype(np.float64)  # (n, 2)
    wanted = torch.stack([rows.y[valid], rows.z[valid]], 1).double().numpy()
    found = []
    for head in range(2):
        known = ~np.isnan(wanted[:, head])
        platt = fit_platt(_logit(said[known, head]), wanted[known, head], rows_a_user)
        _fold(network, head, platt)
        found.append(platt)
    return found[0], found[1]


def fit_platt(logits: FloatArray, wanted: FloatArray, rows_a_user: float = 1.0) -> Platt:
    """Return the scale and shift of least log-loss, or NO_CHANGE where they do not help.

    logits, wanted: (n,), wanted in [0, 1]. rows_a_user: by how much the rows overstate what is known.
    """
    if len(logits) < _LEAST_ROWS:
        return NO_CHANGE
    found = _newton(np.stack([logits, np.ones_like(logits)], 1), wanted, rows_a_user)
    platt = Platt(float(found[0]), float(found[1]))
    before, after = NO_CHANGE.of(logits), platt.of(logits)
    if not (np.isfinite(found).all() and platt.scale >= _LEAST_SCALE):
        return NO_CHANGE
    worse = log_loss(after, wanted) > log_loss(before, wanted)
    is_off = calibration_error(after, wanted) > calibration_error(before, wanted)
    return NO_CHANGE if worse or is_off else platt


def _newton(x: FloatArray, wanted: FloatArray, rows_a_user: float) -> FloatArray:
    """Return the minimum of log-loss and prior, (2,), by Newton's method with halved steps: it is convex.

    x: (n, 2), logits and ones.
    """
    prior, precision = np.array([1.0, 0.0]), np.eye(2) * rows_a_user / _PRIOR_DEVIATION**2

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
    """Scale and shift one of the two logits, which are the sum of what two layers say."""
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
