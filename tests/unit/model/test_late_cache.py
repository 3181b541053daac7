"""The vector cache of a late model: hits, filling from a predecessor, and eviction."""

from pathlib import Path

import pytest
import torch

from model.features.keys import text_key
from model.late_model import LateModel
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from tests.support.late import late_model, late_parts, late_text
from tests.unit.model.late_rows import TEXTS, embeddings, some_rows

PATIENCE_S = 120


@pytest.fixture
def model(tiny_base: Path, tokenizer: BehaviourTokenizer) -> LateModel:
    """A late model with an empty cache."""
    return late_model(tiny_base, tokenizer)


def test_history_texts_are_requested_only_for_missing_vectors(
    model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    asked: list[str] = []
    pieces = tokenizer.words(TEXTS)
    first = late_text(pieces[0], "a", [(pieces[1], "b", 1.0), (pieces[2], "c", None)], asked=asked)
    known = late_text(pieces[2], "a", [(pieces[0], "b", 1.0), (pieces[1], "c", None)], asked=asked)
    model.score_texts([first, known])
    assert asked == [TEXTS[0]]
    model.score_texts([known, first])
    assert asked == [TEXTS[0]]
    assert (model.vectors.misses, model.vectors.hits) == (3, 3)
    new = late_text(pieces[5], "a", [(pieces[2], "b", 1.0)], asked=asked)
    model.score_texts([new])
    assert asked == [TEXTS[0]]  # the row carries its own text


def test_the_probe_is_never_cached(model: LateModel) -> None:
    for _ in range(2):
        model.score_texts([model.probe])
    assert (len(model.vectors), model.vectors.misses) == (0, 2)


def test_a_successor_starts_with_the_last_used_texts(
    tiny_base: Path, model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    model.score_texts(some_rows(tokenizer, 30))
    again = late_parts(tiny_base, seed=3)
    with torch.no_grad():
        embeddings(again.encoder).mul_(1.5)
    successor = late_model(tiny_base, tokenizer, again)
    assert successor.fill_from(model, seconds=PATIENCE_S) == len(model.vectors) == len(TEXTS)
    fresh = late_model(tiny_base, tokenizer, again)
    rows = some_rows(tokenizer, 10, seed=5)
    torch.testing.assert_close(successor.score_texts(rows), fresh.score_texts(rows), atol=1e-5, rtol=0)
    assert successor.vectors.misses == 0


def test_a_smaller_cache_is_filled_with_the_newest_texts(
    tiny_base: Path, model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    pieces = tokenizer.words(TEXTS)
    for piece in pieces:
        model.score_texts([late_text(piece)])
    successor = late_model(tiny_base, tokenizer, cached_vectors=3)
    assert successor.fill_from(model, seconds=PATIENCE_S) == 3
    kept = {kept.key for kept in successor.vectors.newest(10)}
    assert kept == {text_key(piece.text) for piece in pieces[-3:]}


def test_the_least_recently_used_filled_texts_are_evicted_first(
    tiny_base: Path, model: LateModel, tokenizer: BehaviourTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.late_model._FILLED_AT_ONCE", 2)
    pieces = tokenizer.words(TEXTS)
    for piece in pieces:
        model.score_texts([late_text(piece)])
    successor = late_model(tiny_base, tokenizer, cached_vectors=len(pieces))
    successor.fill_from(model, seconds=PATIENCE_S)
    (new,) = tokenizer.words(["watch something new"])
    successor.score_texts([late_text(new)])
    kept = {kept.key for kept in successor.vectors.newest(100)}
    assert text_key(new.text) in kept
    assert {text_key(piece.text) for piece in pieces[-4:]} <= kept


def test_filling_ends_on_timeout_or_on_request(
    tiny_base: Path, model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    model.score_texts(some_rows(tokenizer, 5))
    successor = late_model(tiny_base, tokenizer)
    assert successor.fill_from(model, seconds=0) == 0
    assert successor.fill_from(model, seconds=PATIENCE_S, stop=lambda: True) == 0


def test_a_model_with_another_tokenizer_is_not_filled(
    tiny_base: Path, model: LateModel, tokenizer: BehaviourTokenizer, minilm_dir: Path
) -> None:
    model.score_texts(some_rows(tokenizer, 5))
    other = BehaviourTokenizer.from_folder(minilm_dir, TextSettings(lowercase=True))
    assert late_model(tiny_base, other).fill_from(model, seconds=PATIENCE_S) == 0
