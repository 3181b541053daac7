"""Texts of past behaviours by key, taken from the words of examples."""

from dataclasses import replace

from model.features.keys import text_key
from model.tokens import BehaviourTokenizer
from tests.support.late_examples import audience
from trainer.known_texts import known_texts


def test_past_texts_are_found_in_histories_without_outcomes(tokenizer: BehaviourTokenizer) -> None:
    examples = audience(120, tokenizer)
    newest = examples[-30:]
    texts = known_texts(newest)
    assert all(text_key(text) == key for key, text in texts.items())
    assert list(texts.values())[: len({one.target for one in newest})] == list(
        dict.fromkeys(one.target for one in newest)
    )
    own = known_texts([replace(one, history="") for one in newest])
    assert set(own) == {text_key(one.target) for one in newest}
    assert len(texts) > len(own)


def test_examples_without_a_snapshot_give_no_texts(tokenizer: BehaviourTokenizer) -> None:
    assert known_texts([replace(one, snapshot=None) for one in audience(5, tokenizer)]) == {}
