"""What an outcome that becomes known changes: the item, the user's totals, the partition's mean, the window's entry."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from model.features.history import Past
from model.features.state import ItemState, Mean, UserTotals, as_float32

ITEM_WEIGHT = 8.0
"""How many outcomes at the mean of all an item's bias starts with."""

USER_WEIGHT = 5.0
"""How many outcomes at the mean of all a user's mean starts with."""


class Learned(NamedTuple):
    """The state after an outcome. past: the behaviour with its outcome and residual."""

    past: Past
    item: ItemState
    totals: UserTotals
    mean: Mean


def grade_of(y: float, z: float | None) -> float:
    """Return the grade of an outcome: z where it is known, else y."""
    return y if z is None else z


def user_mean(z_sum: float, known: int, mu: float) -> float:
    """Return a user's mean grade in the window, shrunk to the mean of all."""
    return (z_sum + USER_WEIGHT * mu) / (known + USER_WEIGHT)


def learn(
    past: Past,
    y: float,
    z: float | None,
    *,
    item: ItemState,
    totals: UserTotals,
    mean: Mean,
    own_mean: float,
) -> Learned:
    """Take in the outcome of a behaviour, in the order in which outcomes become known.

    item, totals, mean: as they stand before it. own_mean: the user's mean in the window before it, by user_mean().
    A behaviour without an item changes no item. Raises ValueError if y or z is not in [0, 1].
    """
    grade = grade_of(y, z)
    for name, value in (("y", y), ("z", grade)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value} of an outcome is not in [0, 1]")
    mu = mean.value
    residual = as_float32(grade - mu - item.above_mean / (item.outcomes + ITEM_WEIGHT))
    return Learned(
        past._replace(y=as_float32(y), z=as_float32(grade), residual=residual),
        item.and_one(y, grade, mu, own_mean, past.at_ms) if past.item_id else item,
        totals.and_one(y, grade, residual),
        mean.and_one(grade),
    )


def known_mean(pasts: Iterable[Past], mu: float) -> float:
    """Return user_mean() of a window's known outcomes."""
    grades = [past.z for past in pasts if past.known]
    return user_mean(math.fsum(grades), len(grades), mu)
