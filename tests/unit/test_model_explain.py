import numpy as np
import pytest

from model.explain import explain
from model.influence import influence
from model.loaded import LoadedModel
from model.tokens import EncodedText


def test_each_effect_is_that_of_leaving_one_behaviour_out(tiny_model: LoadedModel) -> None:
    tokenizer = tiny_model.tokenizer
    history = tokenizer.words([f"watch film {n} liked" for n in range(40)])
    target, *rates = tokenizer.words(["watch Heat", "user likes 50 percent of many"])

    def score(texts: list[EncodedText]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return tiny_model.score_texts(texts).numpy()

    explanation = explain(history, target, rates, tokenizer=tokenizer, score=score, lam=0.5)
    kept = tokenizer.encode(history, target, rates).behaviours
    assert 0 < kept < 40
    assert len(explanation.effects) == 40
    assert not any(explanation.effects[:-kept])
    shown = list(history[-kept:])
    without_newest = score([tokenizer.encode(shown[:-1], target, rates)])
    expected = explanation.influence - influence(without_newest[:, 0], without_newest[:, 1], 0.5)[0]
    assert explanation.effects[-1] == pytest.approx(expected, abs=1e-6)


def test_without_a_history_there_is_nothing_to_explain(tiny_model: LoadedModel) -> None:
    target = tiny_model.tokenizer.words(["watch Heat"])[0]
    explanation = explain(
        (),
        target,
        (),
        tokenizer=tiny_model.tokenizer,
        score=lambda texts: tiny_model.score_texts(texts).numpy(),
        lam=0.5,
    )
    assert explanation.effects == []
