"""The feature function: the numeric features of one behaviour."""

import math

import numpy as np
from numpy.typing import NDArray

from model.features.history import History
from model.features.items import NO_ITEMS, UNKNOWN_ITEM, ItemFacts, ItemTable
from model.features.learning import ITEM_WEIGHT, USER_WEIGHT, user_mean
from model.features.signals import item_signals, text_signals
from model.features.state import ItemState, UserTotals

_HIGH, _LOW = 0.9, 0.3
_RATE_WEIGHT = 5.0
_NET_WEIGHT = 10.0
_RECENT_WEIGHT = 3.0
_DECAYS = 0.9 ** np.arange(100)[::-1]  # of the newest 100; older ones weigh less than .00003
_DAY_S = 86_400.0

FloatArray = NDArray[np.float64]


def numbers(
    at_ms: int,
    item: ItemState,
    mu: float,
    history: History,
    totals: UserTotals,
    cosines: NDArray[np.floating],
    facts: ItemFacts = UNKNOWN_ITEM,
    table: ItemTable = NO_ITEMS,
) -> NDArray[np.float32]:
    """Return the values of FEATURES, float32 (F,), all finite.

    at_ms: event time of the behaviour being scored. item: the state of its item. mu: the partition's mean grade.
    history: the user's window before the behaviour. totals: the user's totals. All contain only outcomes known now.
    cosines: (H,), of each past behaviour's text vector with that of the behaviour being scored.
    facts: the checkpoint's data of the item. table: the checkpoint's items, for the items of the history.
    Raises ValueError if the number of cosines differs from the number of behaviours.
    """
    if len(cosines) != len(history):
        raise ValueError(f"{len(cosines)} cosines for {len(history)} behaviours: the numbers must be equal")
    item_part, item_mean = item_numbers(at_ms / 1000, item, mu, facts)
    known = history.known.nonzero()[0]  # (K,)
    z, residual = history.z[known], history.residual[known]
    bias = float(residual.sum()) / (len(known) + USER_WEIGHT)
    rows = table.rows_of(history.items)  # (H,)
    net = residual - bias
    text = text_signals(np.asarray(cosines, np.float64)[known], net)
    like = item_signals(facts.vector.astype(np.float64), table.vectors[rows[known]].astype(np.float64), net)
    popularity = float(table.log_outcomes[rows].sum()) / len(rows) if len(rows) else 0.0
    values = (
        *item_part,
        *window_numbers(history.y[known], z, residual, len(history), mu, bias),
        item_mean + bias,
        *time_numbers(at_ms / 1000, history.at_s),
        *text,
        *like,
        popularity,
        *total_numbers(at_ms, totals, mu, item_mean),
    )
    return np.array(values, np.float32)


def item_numbers(
    at_s: float, item: ItemState, mu: float, facts: ItemFacts
) -> tuple[tuple[float, ...], float]:
    """Return the features of group ITEM, and mu + the item's bias."""
    prior = float(facts.bias)
    mean = mu + (item.above_mean + ITEM_WEIGHT * prior) / (item.outcomes + ITEM_WEIGHT)
    numbers = (
        math.log1p(item.outcomes),
        mean,
        (item.y_sum + _RATE_WEIGHT * mean) / (item.outcomes + _RATE_WEIGHT),
        item.above_user / (item.outcomes + _NET_WEIGHT),
        (sum(item.recent) + _RECENT_WEIGHT * mean) / (len(item.recent) + _RECENT_WEIGHT),
        _log_gap(at_s - item.last_at_ms / 1000, _DAY_S) if item.outcomes else 0.0,
        prior,
        facts.log_outcomes,
    )
    return numbers, mean


def window_numbers(
    y: FloatArray, z: FloatArray, residual: FloatArray, behaviours: int, mu: float, bias: float
) -> tuple[float, ...]:
    """Return the features of group WINDOW. y, z, residual: (K,), of the behaviours with a known outcome."""
    known = len(z)
    counts = (math.log1p(known), math.log1p(behaviours - known))
    if not known:
        return (*counts, mu, mu, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, mu, mu)
    # Sums of a few dozen floats are faster without NumPy.
    grades, residuals = z.tolist(), residual.tolist()
    total = sum(grades)
    mean = user_mean(total, known, mu)
    decays = _DECAYS[-known:]
    lately = residual[-len(decays) :]
    return (
        *counts,
        mean,
        (sum(y.tolist()) + _RATE_WEIGHT * mean) / (known + _RATE_WEIGHT),
        math.sqrt(max(float(z @ z) / known - (total / known) ** 2, 0.0)),
        np.count_nonzero(z > _HIGH) / known,
        np.count_nonzero(z < _LOW) / known,
        bias,
        _shrunk(residuals[-5:]),
        _shrunk(residuals[-20:]),
        float(decays @ lately) / (float(decays.sum()) + 1),
        grades[-1],
        sum(grades[-3:]) / min(known, 3),
    )


def time_numbers(at_s: float, past_s: FloatArray) -> tuple[float, ...]:
    """Return the features of group TIME. past_s: (H,), event times of the window in seconds, oldest first."""
    if not len(past_s):
        return (0.0, 0.0, 0.0, 0.0)
    return (
        _log_gap(at_s - float(past_s[-1]), 1.0),
        math.log1p(np.count_nonzero(past_s >= math.floor(at_s))),
        math.log1p(np.count_nonzero(past_s >= at_s - 60)),
        _log_gap(at_s - float(past_s[0]), _DAY_S),
    )


def total_numbers(at_ms: int, totals: UserTotals, mu: float, item_mean: float) -> tuple[float, ...]:
    """Return the features of group TOTALS. item_mean: mu + the item's bias."""
    known = totals.outcomes
    bias = totals.residual_sum / (known + USER_WEIGHT)
    first_s = totals.first_at_ms / 1000
    return (
        math.log1p(known),
        (totals.y_sum + _RATE_WEIGHT * mu) / (known + _RATE_WEIGHT),
        bias,
        math.sqrt(totals.residual_squares / known) if known else 0.0,
        totals.slow,
        item_mean + bias,
        _log_gap(at_ms / 1000 - first_s, _DAY_S) if totals.behaviours else 0.0,
    )


def _shrunk(residuals: list[float]) -> float:
    return sum(residuals) / (len(residuals) + 1)


def _log_gap(seconds: float, unit_s: float) -> float:
    """Return log(1 + gap in units); a negative gap, as of a late event, counts as 0."""
    return math.log1p(max(seconds, 0.0) / unit_s)
