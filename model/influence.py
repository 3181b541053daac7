"""The influence: the published score of a behaviour."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def influence(y_hat: FloatArray, z_hat: FloatArray, lam: float) -> FloatArray:
    """Return clip((y_hat + lam * z_hat) / (1 + lam), 0, 1), element-wise.

    y_hat, z_hat: float32 (N,). lam: the weight of the affinity used in training, >= 0.
    """
    mixed = (y_hat + np.float32(lam) * z_hat) / np.float32(1 + lam)  # (N,)
    return np.clip(mixed, np.float32(0), np.float32(1))


def influence_of(y_hat: float, z_hat: float, lam: float) -> float:
    """Return the influence of one score, computed in float32 like arrays."""
    return float(influence(np.array([y_hat], np.float32), np.array([z_hat], np.float32), lam)[0])
