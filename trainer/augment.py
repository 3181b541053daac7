"""Augmentation of behaviour texts: the same label from less. Pure.

Source: DESIGN section 8.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.text import split_history
from trainer.dataset import Example


def drop_histories(examples: Sequence[Example], share: float, seed: int) -> list[Example]:
    """Take the past behaviours out of a random share of the texts; the rates in words stay.

    A short text costs a third of a long one, and the model learns not to lean on the history alone.
    share: 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share} must be 0 to 1")
    dropped = np.random.default_rng(seed).random(len(examples)) < share
    return [
        replace(example, history=split_history(example.history)[0]) if drop else example
        for example, drop in zip(examples, dropped, strict=True)
    ]
