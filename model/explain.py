"""How much each past behaviour sways a score: its leave-one-out influence.

    effect(i) = influence(x) - influence(x without behaviour i)

Computed on demand, never in the hot path: n + 1 texts for n past behaviours.

Source: DESIGN section 6.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.influence import influence
from model.tokens import BehaviourTokenizer, EncodedText, Piece

ScoreTexts = Callable[[list[EncodedText]], NDArray[np.float32]]
"""Scores N texts: y_hat and z_hat, float32 (N, 2)."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A score, and what each past behaviour contributes to it.

    effects: one for each behaviour of the history, oldest first, in [-1, 1]; 0 for one that the text left
    out. Positive: it raises the influence.
    """

    influence: float
    effects: list[float]


def explain(
    history: Sequence[Piece],
    target: Piece,
    rates: Sequence[Piece],
    *,
    tokenizer: BehaviourTokenizer,
    score: ScoreTexts,
    lam: float,
) -> Explanation:
    """Score a text, and the same text without each of the behaviours that it kept.

    The rates in words stay as they are, and no older behaviour moves up: each effect is that of one
    behaviour in this very text.
    """
    kept = tokenizer.encode(history, target, rates).behaviours
    shown = list(history[len(history) - kept :])
    without = [shown[:index] + shown[index + 1 :] for index in range(kept)]
    texts = [tokenizer.encode(pieces, target, rates) for pieces in [shown, *without]]
    outputs = score(texts)
    influences = influence(outputs[:, 0], outputs[:, 1], lam)  # (n + 1,)
    effects = [0.0] * (len(history) - kept) + (influences[0] - influences[1:]).astype(float).tolist()
    return Explanation(float(influences[0]), effects)
