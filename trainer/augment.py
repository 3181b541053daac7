"""Augmentation of behaviour texts: the same label from less, or from another order. Pure.

What may change is the past: the behaviour being scored and the rates in words stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.text import join_history, split_history
from trainer.dataset import Example


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often what is done to a text's past behaviours; all are chances, 0 to 1, and 0 is never.

    histories_dropped: for a text, to lose its past altogether. cropped: for a text, to keep only the newest
    crop_to behaviours. behaviours_dropped: for each behaviour, to be left out. reordered: for each pair of
    neighbours, to change places; a behaviour moves by one place at most.
    They are done in this order. crop_to: at least 1.
    """

    histories_dropped: float = 0.0
    cropped: float = 0.0
    crop_to: int = 5
    behaviours_dropped: float = 0.0
    reordered: float = 0.0

    def __post_init__(self) -> None:
        for name in ("histories_dropped", "cropped", "behaviours_dropped", "reordered"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 0 to 1")
        if self.crop_to < 1:
            raise ValueError(f"crop_to={self.crop_to} must be at least 1")

    @property
    def acts(self) -> bool:
        """Whether it ever changes a text."""
        return bool(self.histories_dropped or self.cropped or self.behaviours_dropped or self.reordered)


def augment(example: Example, augmentation: Augmentation, random: np.random.Generator) -> Example:
    """Return an example with the same label and target, and a past that was thinned or mixed."""
    rates, behaviours = split_history(example.history)
    if random.random() < augmentation.histories_dropped:
        behaviours = []
    if random.random() < augmentation.cropped:
        behaviours = behaviours[-augmentation.crop_to :]
    kept = random.random(len(behaviours)) >= augmentation.behaviours_dropped
    behaviours = [behaviour for behaviour, keep in zip(behaviours, kept, strict=True) if keep]
    _swap_neighbours(behaviours, augmentation.reordered, random)
    return replace(example, history=join_history(rates, behaviours))


def augment_rows(
    examples: Sequence[Example], rows: Sequence[int], augmentation: Augmentation, *, seed: int, epoch: int = 0
) -> list[Example]:
    """Augment some rows of the examples.

    What a row becomes depends on seed, epoch and row alone, so a training that is resumed in the middle of an
    epoch sees what it would have seen.
    """
    if not augmentation.acts:
        return [examples[row] for row in rows]
    return [augment(examples[row], augmentation, np.random.default_rng((seed, epoch, row))) for row in rows]


def _swap_neighbours(behaviours: list[str], share: float, random: np.random.Generator) -> None:
    place = 0
    while place + 1 < len(behaviours):
        if random.random() < share:
            behaviours[place], behaviours[place + 1] = behaviours[place + 1], behaviours[place]
            place += 1  # it has moved: it does not move again
        place += 1
