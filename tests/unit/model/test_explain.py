"""Effects of behaviours on the score of a model with the joint reading."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.explain import Explanation, explain
from model.influence import influence
from model.loaded import LoadedModel
from model.tokens import EncodedText

LAM = 0.5


def explained(
    model: LoadedModel, words: list[str], outcomes: list[float | None], item: tuple[str, ...] = ()
) -> Explanation:
    tokenizer = model.tokenizer
    (target,) = tokenizer.words(["watch Heat"])
    return explain(
        tokenizer.words(words),
        outcomes,
        target,
        tokenizer.words(item),
        tokenizer=tokenizer,
        score=lambda texts: model.score_texts(texts).numpy(),
        lam=LAM,
    )


def score(model: LoadedModel, words: list[str], rates: list[str]) -> float:
    """Return the influence of a text."""
    tokenizer = model.tokenizer
    (target,) = tokenizer.words(["watch Heat"])
    text: EncodedText = tokenizer.encode(tokenizer.words(words), target, tokenizer.words(rates))
    outputs: NDArray[np.float32] = model.score_texts([text]).numpy()
    return float(influence(outputs[:, 0], outputs[:, 1], LAM)[0])


def test_an_effect_is_the_change_from_removing_one_behaviour(tiny_model: LoadedModel) -> None:
    words, item = ["watch a liked", "watch b", "watch c disliked"], "item liked by 40 percent of few"
    found = explained(tiny_model, words, [1.0, None, 0.0], (item,))
    whole = score(tiny_model, words, ["user likes 50 percent of 2", item])
    assert found.influence == pytest.approx(whole, abs=1e-6)
    without = [
        score(tiny_model, words[1:], ["user likes 0 percent of 1", item]),
        score(tiny_model, [words[0], words[2]], ["user likes 50 percent of 2", item]),
        score(tiny_model, words[:2], ["user likes 100 percent of 1", item]),
    ]
    assert found.effects == pytest.approx([whole - each for each in without], abs=1e-6)
    assert all(abs(effect) > 1e-5 for effect in found.effects)
    assert found.attention is None


def test_a_truncated_behaviour_affects_only_the_rates(tiny_model: LoadedModel) -> None:
    words = [f"watch film {n} {'liked' if n % 2 else 'disliked'}" for n in range(40)]
    known: list[float | None] = [float(n % 2) for n in range(40)]
    known[:4] = [1.0, 0.0, 0.0, None]
    found = explained(tiny_model, words, known)
    assert len(found.effects) == 40
    assert found.effects[3] == 0  # it is neither in the text nor in the rates
    left = ["user likes 50 percent of many, lately 50", "user likes 45 percent of many, lately 50"]
    tokenizer = tiny_model.tokenizer
    kept = tokenizer.encode(
        tokenizer.words(words), tokenizer.words(["watch Heat"])[0], tokenizer.words(left[:1])
    ).behaviours
    assert 0 < kept < 36
    expected = score(tiny_model, words[-kept:], left[:1]) - score(tiny_model, words[-kept:], left[1:])
    assert abs(expected) > 1e-5
    assert found.effects[0] == pytest.approx(expected, abs=1e-6)
    pending: list[float | None] = [None] * (40 - kept)
    few = explained(tiny_model, words[-kept:], [*pending, *known[-kept:]])
    assert few.effects[: 40 - kept] == [0.0] * (40 - kept)


def test_without_a_history_there_is_nothing_to_explain(tiny_model: LoadedModel) -> None:
    assert explained(tiny_model, [], []).effects == []


def test_each_behaviour_needs_an_outcome(tiny_model: LoadedModel) -> None:
    with pytest.raises(ValueError, match="1 outcomes for 2 behaviours"):
        explained(tiny_model, ["watch a", "watch b"], [None])
