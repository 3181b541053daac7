"""A reference implementation of the feature numbers: recomputed for each event from the list of all events.

It is slow and follows the definitions in model/features/names.py, so that it finds errors of the incremental state.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Rated:
    """An event and its outcome, which later events know from known_at_ms on."""

    user: str
    item: str
    at_ms: int
    y: float
    z: float
    known_at_ms: int


@dataclass(frozen=True)
class Known:
    """An outcome and the values derived when it became known. place: index of its event in the list."""

    place: int
    residual: float
    above_mean: float
    above_user: float


def outcomes_known(
    rated: Sequence[Rated], now: int, max_behaviours: int, to_float32: Callable[[float], float]
) -> list[Known]:
    """Return the outcomes known to event number `now`, in the order of events."""
    known: list[Known] = []
    for place in range(now):
        if rated[place].known_at_ms > rated[now].at_ms:
            continue
        # The window when this outcome became known: its user's events up to the first event that knows it.
        first = next(n for n in range(place + 1, now + 1) if rated[n].at_ms >= rated[place].known_at_ms)
        one, mine = rated[place], rated[place].item
        mu = mean(rated, known)
        bias = sum(k.above_mean for k in known if rated[k.place].item == mine) / (
            8 + sum(rated[k.place].item == mine for k in known)
        )
        window = set(window_of(rated, first, one.user, max_behaviours))
        grades = [to_float32(rated[k.place].z) for k in known if k.place in window]
        own = (math.fsum(grades) + 5 * mu) / (len(grades) + 5)
        if not mine:
            bias = 0.0
        known.append(Known(place, to_float32(one.z - mu - bias), one.z - mu, one.z - own))
    return known


def window_of(rated: Sequence[Rated], now: int, user: str, max_behaviours: int) -> list[int]:
    """Return the places of a user's newest events before event number `now`."""
    return [place for place in range(now) if rated[place].user == user][-max_behaviours:]


def mean(rated: Sequence[Rated], known: Sequence[Known]) -> float:
    """Return mu, the mean grade with a prior of one grade of 0.5."""
    return (sum(rated[k.place].z for k in known) + 0.5) / (len(known) + 1)


def plain_numbers(
    rated: Sequence[Rated],
    now: int,
    *,
    max_behaviours: int,
    to_float32: Callable[[float], float],
    cosine: Callable[[str, str], float],
) -> dict[str, float]:
    """Return the numbers of event number `now` by name, without those that need a checkpoint's item table."""
    event = rated[now]
    known = outcomes_known(rated, now, max_behaviours, to_float32)
    by_place = {k.place: k for k in known}
    mu = mean(rated, known)
    window = window_of(rated, now, event.user, max_behaviours)
    mine = [k for k in known if rated[k.place].item == event.item and event.item]
    in_window = [by_place[place] for place in window if place in by_place]
    residuals = [k.residual for k in in_window]
    grades = [to_float32(rated[k.place].z) for k in in_window]
    n = len(in_window)
    item_mean = mu + sum(k.above_mean for k in mine) / (len(mine) + 8)
    bias = sum(residuals) / (n + 5)
    shrunk = (sum(grades) + 5 * mu) / (n + 5)
    recent = [to_float32(rated[k.place].z) for k in mine[-10:]]
    found = {
        "item_outcomes": math.log1p(len(mine)),
        "item_mean": item_mean,
        "item_rate": (sum(rated[k.place].y for k in mine) + 5 * item_mean) / (len(mine) + 5),
        "item_net": sum(k.above_user for k in mine) / (len(mine) + 10),
        "item_recent": (sum(recent) + 3 * item_mean) / (len(recent) + 3),
        "item_gap": _log((event.at_ms - max(rated[k.place].at_ms for k in mine)) / DAY_MS) if mine else 0.0,
        "known": math.log1p(n),
        "pending": math.log1p(len(window) - n),
        "mean": shrunk,
        "rate": (sum(to_float32(rated[k.place].y) for k in in_window) + 5 * shrunk) / (n + 5),
        "spread": _spread(grades),
        "share_high": sum(grade > 0.9 for grade in grades) / max(n, 1),
        "share_low": sum(grade < 0.3 for grade in grades) / max(n, 1),
        "bias": bias,
        "bias_last_5": sum(residuals[-5:]) / (min(n, 5) + 1),
        "bias_last_20": sum(residuals[-20:]) / (min(n, 20) + 1),
        "bias_decayed": _decayed(residuals),
        "last": grades[-1] if grades else mu,
        "last_3": sum(grades[-3:]) / min(n, 3) if grades else mu,
        "expected": item_mean + bias,
    }
    found |= _times(event.at_ms, [rated[place].at_ms for place in window])
    found |= _texts(
        [cosine(event.item, rated[k.place].item) for k in in_window], [r - bias for r in residuals]
    )
    return found | _totals(rated, now, known, mu, item_mean)


def _times(at_ms: int, past_ms: list[int]) -> dict[str, float]:
    return {
        "gap": _log((at_ms - past_ms[-1]) / 1000) if past_ms else 0.0,
        "same_second": math.log1p(sum(past // 1000 == at_ms // 1000 for past in past_ms)),
        "last_minute": math.log1p(sum(past >= at_ms - 60_000 for past in past_ms)),
        "window_days": _log((at_ms - past_ms[0]) / DAY_MS) if past_ms else 0.0,
    }


def _texts(cosines: list[float], net: list[float]) -> dict[str, float]:
    if not net:
        return dict.fromkeys(("text_near", "text_wide", "text_closest", "text_at_closest"), 0.0)
    near = [math.exp((cosine - 1) / 0.05) for cosine in cosines]
    wide = [math.exp((cosine - 1) / 0.15) for cosine in cosines]
    closest = max(cosines)
    at_closest = [r for cosine, r in zip(cosines, net, strict=True) if cosine >= closest - 1e-3]
    return {
        "text_near": math.fsum(w * r for w, r in zip(near, net, strict=True)) / (sum(near) + 0.1),
        "text_wide": math.fsum(w * r for w, r in zip(wide, net, strict=True)) / (sum(wide) + 0.5),
        "text_closest": closest,
        "text_at_closest": sum(at_closest) / len(at_closest),
    }


def _totals(
    rated: Sequence[Rated], now: int, known: list[Known], mu: float, item_mean: float
) -> dict[str, float]:
    event = rated[now]
    mine = [k for k in known if rated[k.place].user == event.user]
    behaviours = [one.at_ms for one in rated[:now] if one.user == event.user]
    slow = 0.0
    for k in mine:
        slow = 0.98 * slow + 0.02 * k.residual
    n = len(mine)
    bias = sum(k.residual for k in mine) / (n + 5)
    return {
        "total_known": math.log1p(n),
        "total_rate": (sum(rated[k.place].y for k in mine) + 5 * mu) / (n + 5),
        "total_bias": bias,
        "total_spread": math.sqrt(sum(k.residual**2 for k in mine) / n) if n else 0.0,
        "total_bias_slow": slow,
        "total_expected": item_mean + bias,
        "total_days": _log((event.at_ms - behaviours[0]) / DAY_MS) if behaviours else 0.0,
    }


def _spread(grades: list[float]) -> float:
    if not grades:
        return 0.0
    middle = sum(grades) / len(grades)
    return math.sqrt(sum((grade - middle) ** 2 for grade in grades) / len(grades))


def _decayed(residuals: list[float]) -> float:
    weights = [0.9**age for age in range(len(residuals) - 1, -1, -1)]
    return sum(w * r for w, r in zip(weights, residuals, strict=True)) / (sum(weights) + 1)


def _log(value: float) -> float:
    return math.log1p(max(value, 0.0))
