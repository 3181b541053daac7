"""Effects of behaviours on a late model's score: the decisive one is found, and unread ones have no effect."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.explain import Explanation
from model.explain_late import explain_late
from model.features.names import NAMES
from model.jobs import LateText
from model.late_model import LateModel
from model.network import TwoHeadedNetwork
from model.tokens import BehaviourTokenizer, Piece
from tests.support.late import late_model, late_network, late_parts, late_text

WORDS = ("watch alien", "watch heat", "rate amelie", "view a lamp", "buy chillies", "read a book")
PLANTED = "listen to fado"


def explained(model: LateModel, text: LateText) -> Explanation:
    return explain_late(
        text,
        score=lambda rows: model.score_texts(rows).numpy(),
        attend=lambda row: model.attention(model.pack([row]))[0].numpy(),
        lam=model.lam,
    )


def row(
    tokenizer: BehaviourTokenizer, random: np.random.Generator, behaviours: int
) -> tuple[LateText, int, float]:
    """Return a row with the planted behaviour once in its history, its index there, and its grade."""
    past = random_past(tokenizer, random, behaviours)
    place, grade = int(random.integers(behaviours)), float(random.integers(2))
    past[place] = (tokenizer.words([PLANTED])[0], "", grade)
    return late_text(tokenizer.words(WORDS)[0], "", past), place, grade


def random_past(
    tokenizer: BehaviourTokenizer, random: np.random.Generator, behaviours: int
) -> list[tuple[Piece, str, float | None]]:
    """Return behaviours with random outcomes."""
    pieces = tokenizer.words(WORDS)
    return [(pieces[random.integers(len(pieces))], "", float(random.integers(2))) for _ in range(behaviours)]


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tokenizer: BehaviourTokenizer) -> LateModel:
    """A model trained on the planted behaviour's outcome. It reads the history only through attention."""
    random = np.random.default_rng(0)
    rows = [row(tokenizer, random, int(random.integers(2, 10))) for _ in range(256)]
    target = tokenizer.words(WORDS)[0]
    lengths = random.integers(9, size=64)
    # Without the planted behaviour the outcome is unknown.
    rows += [
        (late_text(target, "", random_past(tokenizer, random, length)), 0, 0.5) for length in lengths.tolist()
    ]
    network = late_network(columns=(NAMES.index("item_outcomes"),), input_dropout=0.0, dropout=0.0)
    model = late_model(tiny_base, tokenizer, late_parts(tiny_base)._replace(late=network))
    inputs = model._inputs(model.pack([text for text, _, _ in rows]))
    y = torch.tensor([grade for _, _, grade in rows])
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(300):
        optimiser.zero_grad()
        outputs = torch.sigmoid(network.train()(*(_copied(part) for part in inputs)))
        loss = ((outputs - y[:, None]) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    network.eval()
    assert loss.item() < 0.01
    return model


def _copied(part: object) -> object:
    """Copy inputs that were made in inference mode, so that gradients can be computed."""
    return part.clone() if isinstance(part, torch.Tensor) else type(part)(*(each.clone() for each in part))  # type: ignore[attr-defined]


def test_the_decisive_behaviour_has_the_largest_effect_and_attention(
    trained: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        text, place, grade = row(tokenizer, random, 12)
        found = explained(trained, text)
        assert np.argmax(np.abs(found.effects)) == place
        assert (found.effects[place] > 0) == (grade > 0.5)
        assert found.attention is not None
        assert np.argmax(found.attention) == place
        assert 0 < sum(found.attention) <= 1 + 1e-6


def test_the_explained_scores_match_the_model(trained: LateModel, tokenizer: BehaviourTokenizer) -> None:
    text, _, _ = row(tokenizer, np.random.default_rng(2), 5)
    found = explained(trained, text)
    assert [found.y_hat, found.z_hat] == pytest.approx(trained.score_texts([text])[0].tolist(), abs=1e-6)


def test_behaviours_outside_the_attention_window_have_no_effect(
    tiny_base: Path, tokenizer: BehaviourTokenizer
) -> None:
    network = late_network(behaviours=3, columns=(NAMES.index("item_outcomes"),))
    model = late_model(tiny_base, tokenizer, late_parts(tiny_base)._replace(late=network))
    text, _, _ = row(tokenizer, np.random.default_rng(3), 9)
    found = explained(model, text)
    assert found.effects[:6] == pytest.approx([0] * 6, abs=1e-6)
    assert max(map(abs, found.effects[6:])) > 1e-4
    assert found.attention is not None
    assert found.attention[:6] == [0] * 6
    assert min(found.attention[6:]) > 0


def test_a_network_without_history_gives_no_effects_or_attention(
    tiny_base: Path, tokenizer: BehaviourTokenizer
) -> None:
    network = late_network(history=False, columns=(NAMES.index("item_outcomes"),))
    model = late_model(tiny_base, tokenizer, late_parts(tiny_base)._replace(late=network))
    text, _, _ = row(tokenizer, np.random.default_rng(4), 4)
    found = explained(model, text)
    assert found.effects == pytest.approx([0] * 4, abs=1e-6)
    assert found.attention == [0] * 4


@pytest.mark.parametrize("name", ["last", "total_known", "total_bias", "pending", "mean"])
def test_features_are_recomputed_without_the_behaviour(
    tiny_base: Path, tokenizer: BehaviourTokenizer, name: str
) -> None:
    network = late_network(history=False, columns=(NAMES.index(name),))
    model = late_model(tiny_base, tokenizer, late_parts(tiny_base)._replace(late=network))
    one, other, third = tokenizer.words(WORDS[:3])
    text = late_text(one, "a", [(other, "b", 1.0), (third, "b", None), (one, "c", 0.0)])
    moved = [abs(effect) > 1e-4 for effect in explained(model, text).effects]
    assert (
        moved
        == {
            "last": [False, False, True],
            "total_known": [True, False, True],
            "total_bias": [True, False, True],
            "pending": [False, True, False],
            "mean": [True, False, True],
        }[name]
    )


def test_without_a_history_there_is_nothing_to_explain(
    trained: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    found = explained(trained, late_text(tokenizer.words([PLANTED])[0]))
    assert (found.effects, found.attention) == ([], [])


def test_the_history_texts_are_requested_once(
    tiny_network: TwoHeadedNetwork, tiny_base: Path, tokenizer: BehaviourTokenizer
) -> None:
    asked: list[str] = []
    pieces = tokenizer.words(WORDS)
    text = late_text(pieces[0], "a", [(piece, "b", 1.0) for piece in pieces], asked=asked)
    explained(late_model(tiny_base, tokenizer), text)
    assert asked == [WORDS[0]]
