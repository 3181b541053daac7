"""Simulated gate slices: predictions of champion and challenger for users with correlated rows.

Each user has a taste, so the outcomes of a user's rows are correlated. A version's errors have two parts: one common to
all rows of a user and one per row. Under the null hypothesis, the errors of both versions are independent and equally
large.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trainer.gate import GateSettings, Predictions, Verdict, judge

LAM = 0.5
_USER_ERROR = 0.1  # standard deviations
_ROW_ERROR = 0.1

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ROWS_OF_USERS: dict[str, Callable[[np.random.Generator, int], IntArray]] = {
    "one row": lambda _, users: np.ones(users, np.int64),
    "log-normal": lambda random, users: np.ceil(random.lognormal(0.5, 1.2, users)).astype(np.int64),
    "Pareto": lambda random, users: np.minimum(np.ceil(random.pareto(1.3, users) + 1), 1000).astype(np.int64),
}
"""Distributions of the rows per user. The log-normal is close to the newest tenth of MovieLens-100K; the Pareto has a
finite variance only because of its cap."""


@dataclass(frozen=True, slots=True)
class Population:
    """The distribution of slices.

    users: number of users in a slice. rows: a key of ROWS_OF_USERS. better: the share by which the challenger's squared
    error is lower; 0 is the null hypothesis. uneven: the challenger's error is lower for most users and higher for
    every fifth, with the same total.
    """

    users: int
    rows: str = "log-normal"
    better: float = 0.0
    uneven: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """The input of the gate. y, z, user_ids: (N,)."""

    champion: Predictions
    challenger: Predictions
    y: FloatArray
    z: FloatArray
    user_ids: NDArray[np.str_]

    def judged(self, settings: GateSettings, earlier: int = 0) -> Verdict:
        """Return the gate's verdict."""
        return judge(
            self.champion,
            self.challenger,
            self.y,
            self.z,
            LAM,
            user_ids=self.user_ids,
            settings=settings,
            earlier=earlier,
        )


def draw(population: Population, random: np.random.Generator) -> Slice:
    """Draw a slice. y is 0 or 1; z is known for four rows in five."""
    rows = ROWS_OF_USERS[population.rows](random, population.users)
    of_row = np.repeat(np.arange(population.users), rows)  # (N,)
    taste = random.normal(0.6, 0.2, population.users)
    chance = np.clip(taste[of_row] + random.normal(0, 0.15, len(of_row)), 0.02, 0.98)
    y = (random.random(len(of_row)) < chance).astype(np.float64)
    z = np.where(random.random(len(of_row)) < 0.2, np.nan, chance)
    scale = np.ones(population.users)
    challenger_scale = scale * np.sqrt(1 - population.better)
    if population.uneven:
        often = random.random(population.users) < 0.2
        challenger_scale = challenger_scale * np.sqrt(np.where(often, 3.0, 0.5))  # 0.2 * 3 + 0.8 * 0.5 = 1
    champion, challenger = (
        _predictions(chance, of_row, by_user, random) for by_user in (scale, challenger_scale)
    )
    return Slice(champion, challenger, y, z, np.char.mod("%05d", np.arange(population.users))[of_row])


def promotions(
    population: Population, settings: GateSettings, *, requests: int, seed: int, earlier: int = 0
) -> int:
    """Return the number of promotions among independently drawn requests."""
    random = np.random.default_rng(seed)
    return sum(draw(population, random).judged(settings, earlier).promote for _ in range(requests))


def fallen_champions(
    population: Population, settings: GateSettings, *, champions: int, requests: int, seed: int
) -> int:
    """Return how many champions are replaced within a number of successive requests."""
    random = np.random.default_rng(seed)
    return sum(
        any(draw(population, random).judged(settings, earlier).promote for earlier in range(requests))
        for _ in range(champions)
    )


def loss_gain(population: Population, *, users: int = 20_000, seed: int = 0) -> float:
    """Return the challenger's true gain as a share of the champion's loss, estimated with many users."""
    found = draw(replace(population, users=users), np.random.default_rng(seed)).judged(
        GateSettings(samples=1, min_examples=1)
    )
    return 1 - found.metrics["challenger_loss"] / found.metrics["champion_loss"]


def _predictions(
    chance: FloatArray, of_row: IntArray, scale: FloatArray, random: np.random.Generator
) -> Predictions:
    y_hat, z_hat = (
        chance
        + scale[of_row]
        * (random.normal(0, _USER_ERROR, len(scale))[of_row] + random.normal(0, _ROW_ERROR, len(of_row)))
        for _ in range(2)
    )
    return Predictions(y_hat, z_hat)
