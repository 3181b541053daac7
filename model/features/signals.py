"""Outcomes of the history, weighted by how alike each behaviour is to the one being scored."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

NEAR_TAU = 0.05
WIDE_TAU = 0.15
_NEAR_WEIGHT = 0.1
_WIDE_WEIGHT = 0.5
_LIKE_WEIGHT = 0.5
_SAME = 1e-3


class TextSignals(NamedTuple):
    """Residuals by similarity of texts; all 0 without a known outcome."""

    near: float = 0.0
    wide: float = 0.0
    closest: float = 0.0
    at_closest: float = 0.0


class ItemSignals(NamedTuple):
    """Residuals by likeness of items; all 0 without a known outcome."""

    total: float = 0.0
    weight: float = 0.0
    mean: float = 0.0
    folded: float = 0.0


NO_TEXT_SIGNALS = TextSignals()
NO_ITEM_SIGNALS = ItemSignals()


def text_signals(cosines: FloatArray, residuals: FloatArray) -> TextSignals:
    """Weight residuals by exp((cosine - 1) / tau).

    cosines: (K,), of each known behaviour's text vector with that of the behaviour being scored; NaN counts as -1.
    residuals: (K,), net of the user's bias.
    """
    if not len(residuals):
        return NO_TEXT_SIGNALS
    cosines = np.fmin(np.fmax(cosines, -1.0), 1.0)  # NaN becomes -1
    near = np.exp((cosines - 1) / NEAR_TAU)
    wide = np.exp((cosines - 1) / WIDE_TAU)
    closest = cosines.max()
    at_closest = residuals[
        cosines >= closest - _SAME
    ]  # equal texts tie but for rounding, which must not choose
    return TextSignals(
        float(near @ residuals) / (float(near.sum()) + _NEAR_WEIGHT),
        float(wide @ residuals) / (float(wide.sum()) + _WIDE_WEIGHT),
        float(closest),
        float(at_closest.sum()) / len(at_closest),
    )


def item_signals(target: FloatArray, vectors: FloatArray, residuals: FloatArray) -> ItemSignals:
    """Weight residuals by the products of item vectors, and regress them on the vectors.

    target: (32,). vectors: (K, 32), of the known behaviours' items. residuals: (K,), net of the user's bias.
    A product of two vectors estimates the correlation of two items' residuals, whose variance is 1 then: so the ridge
    penalty is 1, and the regression at the target is the best linear estimate from all K.
    """
    if not len(residuals) or not target.any():
        return NO_ITEM_SIGNALS
    weights = vectors @ target  # (K,)
    total, weight = float(weights @ residuals), float(np.abs(weights).sum())
    gram = vectors.T @ vectors  # (32, 32)
    gram.flat[:: len(target) + 1] += 1.0
    folded = np.linalg.solve(gram, vectors.T @ residuals) @ target
    return ItemSignals(total, weight, total / (weight + _LIKE_WEIGHT), float(folded))
