"""Ridge regression from text vectors to item figures; leave-one-out errors select the penalty.

    minimise  sum_i w_i |t_i - b - x_i B|^2 + penalty |B|^2

With h_i the leverage of row i, its leave-one-out estimate is t_i - (t_i - t_hat_i) / (1 - h_i), which does not depend
on t_i.

Source: T. Hastie et al., 2009, "The Elements of Statistical Learning", section 7.10.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_NO_VALUE = 1e-12  # relative to the largest eigenvalue

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


@dataclass(frozen=True, slots=True, eq=False)
class MappedRidge:
    """A fitted regression.

    weights: (d, k). x_mean: (d,). t_mean: (k,). left_out: (n, k), the leave-one-out estimate of each row.
    """

    weights: FloatArray
    x_mean: FloatArray
    t_mean: FloatArray
    left_out: FloatArray

    def predict(self, x: NDArray[np.floating]) -> FloatArray:
        """Return estimates, (m, k), for text vectors (m, d)."""
        predicted: FloatArray = (x - self.x_mean) @ self.weights + self.t_mean
        return predicted


class Ridge:
    """Fits several targets on the same text vectors x, (n, d), with positive weights w, (n,).

    penalties: the candidates, in units of the mean squared norm of x.
    """

    def __init__(
        self, x: NDArray[np.floating], w: FloatArray, penalties: Sequence[float] = PENALTIES
    ) -> None:
        self._share, self._penalties = w / w.sum(), penalties
        self._x_mean = self._share @ x
        self._root = np.sqrt(w / w.mean())[:, None]
        centred = self._root * (x - self._x_mean)
        self._scale = float((centred**2).sum() / len(x)) or 1.0
        self._left, self._sizes, self._right = _singular(centred)

    def fit(self, t: FloatArray) -> MappedRidge:
        """Fit targets t, (n, k), with the penalty that has the lowest leave-one-out error."""
        left, sizes = self._left, self._sizes
        t_mean = self._share @ t
        target = self._root * (t - t_mean)
        rotated = left.T @ target  # (r, k)
        best = (float("inf"), target, np.zeros((self._right.shape[1], t.shape[1])))
        for penalty in self._penalties:
            shrunk = sizes**2 / (sizes**2 + penalty * self._scale)  # (r,)
            leverage = (left**2) @ shrunk + self._share  # (n,)
            errors = (target - left @ (shrunk[:, None] * rotated)) / np.maximum(1 - leverage, 1e-6)[:, None]
            loss = float((errors**2).sum())
            if loss < best[0]:
                gains = shrunk / np.maximum(sizes, 1e-12)
                best = loss, errors, self._right.T @ (gains[:, None] * rotated)
        return MappedRidge(best[2], self._x_mean, t_mean, t - best[1] / self._root)


def _singular(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return U, s and V' of x, (n, d), without singular values that are zero up to rounding.

    They are computed from the eigenvectors of x'x, or of xx' if that is smaller, which is thirty times as fast as a
    singular value decomposition for a thousand texts. The result has half the digits of precision; the smallest penalty
    is far above that error.
    """
    tall = x.shape[0] >= x.shape[1]
    values, vectors = np.linalg.eigh(x.T @ x if tall else x @ x.T)
    kept = values > max(float(values[-1]), 0.0) * _NO_VALUE
    sizes, vectors = np.sqrt(values[kept]), vectors[:, kept]
    if tall:
        return x @ vectors / sizes, sizes, vectors.T
    return vectors, sizes, (vectors.T @ x) / sizes[:, None]
