"""How much each past behaviour sways a score: its leave-one-out influence.

    effect(i) = influence(x) - influence(x without behaviour i)

Computed on demand, never in the hot path. Here for texts that hold everything; for rows of a late model in
model.explain_late.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.influence import influence
from model.tokens import BehaviourTokenizer, EncodedText, Piece
from model.words import count_habits

ScoreTexts = Callable[[list[EncodedText]], NDArray[np.float32]]
"""Scores N texts: y_hat and z_hat, float32 (N, 2)."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A score, and what each past behaviour contributes to it.

    effects: one for each behaviour of the window, oldest first, in [-1, 1]; 0 for one that the model does not see.
    Positive: it raises the influence. attention: what each weighs in a late model, None in others; with what weighs
    nothing at all, they sum to 1.
    """

    y_hat: float
    z_hat: float
    influence: float
    effects: list[float]
    attention: list[float] | None = None


def explain(
    history: Sequence[Piece],
    outcomes: Sequence[float | None],
    target: Piece,
    item: Sequence[Piece] = (),
    *,
    tokenizer: BehaviourTokenizer,
    score: ScoreTexts,
    lam: float,
) -> Explanation:
    """Score a text, and the same text without each behaviour of the window.

    history: words of the newest behaviours, oldest first, at least as many as the text has room for. outcomes: y of all
    behaviours of the window, None where it is not known. item: the item's rates in words; they stay, for they are other
    people's too. The user's rates are those of the behaviours that are left, so one that the text has no room for may
    have an effect. No older behaviour moves up: each effect is that of one behaviour in this very text.
    Raises ValueError if there are more behaviours than outcomes.
    """
    if len(history) > len(outcomes):
        raise ValueError(f"{len(outcomes)} outcomes for {len(history)} behaviours")

    def encode(pieces: Sequence[Piece], known: Sequence[float | None]) -> EncodedText:
        return tokenizer.encode(pieces, target, (*tokenizer.rates(count_habits(known)), *item))

    whole = encode(history, outcomes)
    kept = whole.behaviours
    shown, older = list(history[len(history) - kept :]), len(outcomes) - kept
    texts = [whole]
    for place in range(len(outcomes)):
        left = shown if place < older else shown[: place - older] + shown[place - older + 1 :]
        texts.append(encode(left, [*outcomes[:place], *outcomes[place + 1 :]]))
    distinct = {text.ids: text for text in texts}  # the same text has the same score, to the bit
    found = dict(zip(distinct, score(list(distinct.values())), strict=True))
    outputs = np.stack([found[text.ids] for text in texts])  # (n + 1, 2)
    return explanation_of(outputs, lam)


def explanation_of(
    outputs: NDArray[np.float32], lam: float, attention: list[float] | None = None
) -> Explanation:
    """Return the explanation that scores say, float32 (n + 1, 2): of all, then without each of n behaviours."""
    influences = influence(outputs[:, 0], outputs[:, 1], lam)  # (n + 1,)
    effects = (influences[0] - influences[1:]).astype(float).tolist()
    y_hat, z_hat = outputs[0].tolist()
    return Explanation(y_hat, z_hat, float(influences[0]), effects, attention)
