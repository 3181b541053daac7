"""State updates by an observed outcome: of the item, the user's totals, the partition's mean and the window."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from model.features.history import Past
from model.features.state import ItemState, Mean, UserTotals, as_float32

ITEM_WEIGHT = 8.0
"""Prior weight of an item's bias: the number of prior outcomes with the mean grade of all."""

USER_WEIGHT = 5.0
"""Prior weight of a user's mean: the number of prior outcomes with the mean grade of all."""


class Learned(NamedTuple):
    """The state after an outcome. past: the behaviour, with its outcome and residual."""

    past: Past
    item: ItemState
    totals: UserTotals
    mean: Mean


def grade_of(y: float, z: float | None) -> float:
    """Return the grade of an outcome: z if known, else y."""
    return y if z is None else z


def user_mean(z_sum: float, known: int, mu: float) -> float:
    """Return a user's mean grade in the window, shrunk towards mu, the mean of all grades."""
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
    """Return the state updated with the outcome of a behaviour. Call it in the order in which outcomes become known.

    item, totals, mean: the state before the outcome. own_mean: the user's mean in the window before it, from
    user_mean(). A behaviour without an item leaves item unchanged.
    Raises ValueError if y or z is not in [0, 1].
    """
    grade = grade_of(y, z)
    for name, value in (("y", y), ("z", grade)):
        if not 0 <= value <= 1:
            raise ValueError(f"outcome with {name}={value}, which is not in [0, 1]")
    mu = mean.value
    residual = as_float32(grade - mu - item.above_mean / (item.outcomes + ITEM_WEIGHT))
    return Learned(
        past._replace(y=as_float32(y), z=as_float32(grade), residual=residual),
        item.with_outcome(y, grade, mu, own_mean, past.at_ms) if past.item_id else item,
        totals.with_outcome(y, grade, residual),
        mean.with_outcome(grade),
    )


def known_mean(pasts: Iterable[Past], mu: float) -> float:
    """Return user_mean() over the known outcomes of a window."""
    grades = [past.z for past in pasts if past.known]
    return user_mean(math.fsum(grades), len(grades), mu)
