"""Simulated gate slices: what champion and challenger say of users whose rows resemble each other. Pure.

A user has a taste, so the outcomes of one user's rows are alike. A version errs in two ways: by user, all rows of one
user in the same direction, and by row. Under the null both versions err equally much, independently of each other.
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
"""How many rows each user has. The log-normal is close to MovieLens-100K's newest tenth; the Pareto has no variance
but for its cap."""


@dataclass(frozen=True, slots=True)
class Population:
    """Where slices are drawn from.

    users: in a slice. rows: a key of ROWS_OF_USERS. better: the share of its squared error that the challenger is rid
    of; 0 is the null. uneven: the challenger errs less on most users and more on every fifth, equally much in all.
    """

    users: int
    rows: str = "log-normal"
    better: float = 0.0
    uneven: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """What the gate is given. y, z, user_ids: (N,)."""

    champion: Predictions
    challenger: Predictions
    y: FloatArray
    z: FloatArray
    user_ids: NDArray[np.str_]

    def judged(self, settings: GateSettings, earlier: int = 0) -> Verdict:
        """Ask the gate."""
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
    """Draw a slice: y is 0 or 1, z is known for four rows in five."""
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
    """Return how many of so many requests, each drawn anew, are promoted."""
    random = np.random.default_rng(seed)
    return sum(draw(population, random).judged(settings, earlier).promote for _ in range(requests))


def fallen_champions(
    population: Population, settings: GateSettings, *, champions: int, requests: int, seed: int
) -> int:
    """Return how many of so many champions fall within so many requests in a row."""
    random = np.random.default_rng(seed)
    return sum(
        any(draw(population, random).judged(settings, earlier).promote for earlier in range(requests))
        for _ in range(champions)
    )


def loss_gain(population: Population, *, users: int = 20_000, seed: int = 0) -> float:
    """Return the challenger's true gain as a share of the champion's loss, measured on many users."""
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
