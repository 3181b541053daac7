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


class TextWeights(NamedTuple):
    """Cosines from -1 to 1, and what each weighs; all float64, of one shape."""

    cosines: FloatArray
    near: FloatArray
    wide: FloatArray


NO_TEXT_SIGNALS = TextSignals()
NO_ITEM_SIGNALS = ItemSignals()


def text_signals(cosines: FloatArray, residuals: FloatArray) -> TextSignals:
    """Weight residuals by exp((cosine - 1) / tau).

    cosines: (K,), of each known behaviour's text vector with that of the behaviour being scored; NaN counts as -1.
    residuals: (K,), net of the user's bias.
    """
    if not len(residuals):
        return NO_TEXT_SIGNALS
    return text_signals_of(*text_weights(cosines), residuals)


def text_weights(cosines: FloatArray) -> TextWeights:
    """Return the weights of cosines, whosesoever they are; NaN counts as -1."""
    cosines = np.fmin(np.fmax(cosines, -1.0), 1.0)  # NaN becomes -1
    return TextWeights(cosines, np.exp((cosines - 1) / NEAR_TAU), np.exp((cosines - 1) / WIDE_TAU))


def text_signals_of(
    cosines: FloatArray, near: FloatArray, wide: FloatArray, residuals: FloatArray
) -> TextSignals:
    """Do as text_signals() with the weights of text_weights(), of at least one behaviour."""
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
    gram, moments = ridge_terms(vectors, residuals)
    folded = np.linalg.solve(gram, moments) @ target
    return item_sums(target, vectors, residuals)._replace(folded=float(folded))


def item_sums(target: FloatArray, vectors: FloatArray, residuals: FloatArray) -> ItemSignals:
    """Return all of item_signals() but the regression, for a target that is not zero and at least one behaviour."""
    weights = vectors @ target  # (K,)
    total, weight = float(weights @ residuals), float(np.abs(weights).sum())
    return ItemSignals(total, weight, total / (weight + _LIKE_WEIGHT))


def ridge_terms(vectors: FloatArray, residuals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return A, (32, 32), and b, (32,), of the regression's A x = b."""
    gram = vectors.T @ vectors
    gram.flat[:: len(gram) + 1] += 1.0
    return gram, vectors.T @ residuals
