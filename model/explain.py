"""Explanations of scores by the leave-one-out effect of each past behaviour.

    effect(i) = influence(x) - influence(x without behaviour i)

Computed on demand, never in the hot path. This module explains joint models; model.explain_late explains late ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.influence import influence
from model.tokens import BehaviourTokenizer, EncodedText, Piece
from model.words import count_habits

ScoreTexts = Callable[[list[EncodedText]], NDArray[np.float32]]
"""Score N texts; return y_hat and z_hat, float32 (N, 2)."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A score and the effect of each past behaviour on it.

    effects: one value per behaviour of the window, oldest first, in [-1, 1]. A positive effect raises the influence.
    It is 0 for a behaviour that the model does not read.
    attention: the attention weight of each behaviour in a late model, None in a joint one. The weights and the weight
    of "nothing" sum to 1.
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
    """Score a text, and the same text without each behaviour of the window in turn.

    history: Pieces of the newest behaviours, oldest first, at least as many as fit in the text.
    outcomes: y of all behaviours of the window, None where unknown.
    item: Pieces of the item's rates. They are kept, because they come from other users too.
    The user's rates are recomputed from the remaining behaviours, so a behaviour that does not fit in the text can
    have an effect. No older behaviour takes a removed one's place.
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
    # Equal texts have bit-identical scores.
    distinct = {text.ids: text for text in texts}
    found = dict(zip(distinct, score(list(distinct.values())), strict=True))
    outputs = np.stack([found[text.ids] for text in texts])  # (n + 1, 2)
    return explanation_of(outputs, lam)


def explanation_of(
    outputs: NDArray[np.float32], lam: float, attention: list[float] | None = None
) -> Explanation:
    """Return the explanation of scores.

    outputs: float32 (n + 1, 2), y_hat and z_hat with all behaviours, then without each of the n behaviours.
    """
    influences = influence(outputs[:, 0], outputs[:, 1], lam)  # (n + 1,)
    effects = (influences[0] - influences[1:]).astype(float).tolist()
    y_hat, z_hat = outputs[0].tolist()
    return Explanation(y_hat, z_hat, float(influences[0]), effects, attention)
