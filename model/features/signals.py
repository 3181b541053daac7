"""Outcomes of the history, weighted by the similarity of each behaviour to the one being scored."""

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
    """Residuals weighted by text similarity; all 0 without a known outcome."""

    near: float = 0.0
    wide: float = 0.0
    closest: float = 0.0
    at_closest: float = 0.0


class ItemSignals(NamedTuple):
    """Residuals weighted by item similarity; all 0 without a known outcome."""

    total: float = 0.0
    weight: float = 0.0
    mean: float = 0.0
    folded: float = 0.0


class TextWeights(NamedTuple):
    """Cosines in [-1, 1] and their weights at both values of tau; float64 arrays of equal shape."""

    cosines: FloatArray
    near: FloatArray
    wide: FloatArray


NO_TEXT_SIGNALS = TextSignals()
NO_ITEM_SIGNALS = ItemSignals()


def text_signals(cosines: FloatArray, residuals: FloatArray) -> TextSignals:
    """Return residuals weighted by exp((cosine - 1) / tau).

    cosines: (K,), of the text vector of each behaviour with a known outcome with that of the behaviour being scored;
    NaN counts as -1. residuals: (K,), net of the user's bias.
    """
    if not len(residuals):
        return NO_TEXT_SIGNALS
    return text_signals_of(*text_weights(cosines), residuals)


def text_weights(cosines: FloatArray) -> TextWeights:
    """Return the weights of cosines, element-wise; NaN counts as -1."""
    # fmax returns -1 for NaN.
    cosines = np.fmin(np.fmax(cosines, -1.0), 1.0)
    return TextWeights(cosines, np.exp((cosines - 1) / NEAR_TAU), np.exp((cosines - 1) / WIDE_TAU))


def text_signals_of(
    cosines: FloatArray, near: FloatArray, wide: FloatArray, residuals: FloatArray
) -> TextSignals:
    """Return the result of text_signals() from the weights of text_weights(), for at least one behaviour."""
    closest = cosines.max()
    # The cosines of equal texts may differ by rounding, which must not decide between them.
    at_closest = residuals[cosines >= closest - _SAME]
    return TextSignals(
        float(near @ residuals) / (float(near.sum()) + _NEAR_WEIGHT),
        float(wide @ residuals) / (float(wide.sum()) + _WIDE_WEIGHT),
        float(closest),
        float(at_closest.sum()) / len(at_closest),
    )


def item_signals(target: FloatArray, vectors: FloatArray, residuals: FloatArray) -> ItemSignals:
    """Return residuals weighted by dot products of item vectors, and their ridge regression on the vectors.

    target: (32,), the vector of the item being scored. vectors: (K, 32), of the items of behaviours with a known
    outcome. residuals: (K,), net of the user's bias.
    The dot product of two vectors estimates the correlation of the items' residuals, scaled to variance 1. The ridge
    penalty is therefore 1, and the regression's value at the target is the best linear estimate from all K residuals.
    """
    if not len(residuals) or not target.any():
        return NO_ITEM_SIGNALS
    gram, moments = ridge_terms(vectors, residuals)
    folded = np.linalg.solve(gram, moments) @ target
    return item_sums(target, vectors, residuals)._replace(folded=float(folded))


def item_sums(target: FloatArray, vectors: FloatArray, residuals: FloatArray) -> ItemSignals:
    """Return item_signals() without the regression, for a non-zero target and at least one behaviour."""
    weights = vectors @ target  # (K,)
    total, weight = float(weights @ residuals), float(np.abs(weights).sum())
    return ItemSignals(total, weight, total / (weight + _LIKE_WEIGHT))


def ridge_terms(vectors: FloatArray, residuals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return A, (32, 32), and b, (32,), of the ridge regression's normal equations A x = b."""
    gram = vectors.T @ vectors
    gram.flat[:: len(gram) + 1] += 1.0
    return gram, vectors.T @ residuals
