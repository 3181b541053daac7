"""Augmentation of behaviour texts: drop, crop and reorder past behaviours. The label stays. No I/O.

Only the past changes. The behaviour being scored and the rates in words stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.text import join_history, split_history
from trainer.dataset import Example


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Probabilities, 0 to 1, of each change to a text's past behaviours. They apply in this order.

    histories_dropped: per text, of dropping the whole past. cropped: per text, of keeping only the newest crop_to
    behaviours. behaviours_dropped: per behaviour, of dropping it. reordered: per adjacent pair, of swapping it; a
    behaviour moves by one place at most.
    crop_to: at least 1.
    Raises ValueError for a value out of bounds.
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
    def is_active(self) -> bool:
        """Whether any probability is above zero."""
        return bool(self.histories_dropped or self.cropped or self.behaviours_dropped or self.reordered)


def augment(example: Example, augmentation: Augmentation, random: np.random.Generator) -> Example:
    """Return an example with the same label and target, and an augmented history."""
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
    """Return the augmented examples at the given rows.

    The result depends on seed, epoch and row alone, so a training that resumes in the middle of an epoch sees the
    same texts.
    """
    if not augmentation.is_active:
        return [examples[row] for row in rows]
    return [augment(examples[row], augmentation, np.random.default_rng((seed, epoch, row))) for row in rows]


def _swap_neighbours(behaviours: list[str], share: float, random: np.random.Generator) -> None:
    place = 0
    while place + 1 < len(behaviours):
        if random.random() < share:
            behaviours[place], behaviours[place + 1] = behaviours[place + 1], behaviours[place]
            place += 1  # a swapped behaviour is not swapped again
        place += 1
