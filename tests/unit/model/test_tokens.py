"""Texts encoded as tokens: limits, the cache, rates and stored texts."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from model.errors import TokenizerIncompatible
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from model.words import ItemCounts, count_habits
from stream.exactly_once.units.sizes import deep_bytes


@dataclass
class Fields:
    action: str
    item_text: str
    value: float | None = None
    y: float | None = None
    z: float | None = None


def watched(title: str, y: float | None = 1.0) -> Fields:
    return Fields("watch", title, y=y)


def test_a_text_is_a_pair_of_history_and_behaviour(tokenizer: BehaviourTokenizer) -> None:
    history = tokenizer.pieces([watched("Heat"), watched("Alien", 0.0)])
    target = tokenizer.target(watched("Fargo"))
    rates = tokenizer.rates(count_habits([1.0, 0.0]))
    assert tokenizer.behaviour_text(history, target, rates) == (
        "user likes 50 percent of 2 ; watch Heat liked ; watch Alien disliked",
        "watch Fargo",
    )
    encoded = tokenizer.encode(history, target, rates)
    assert (encoded.behaviours, encoded.truncated) == (2, False)
    assert encoded.input_ids()[0] == 101
    assert encoded.input_ids()[encoded.first_segment_tokens - 1] == 102
    assert encoded.tokens == len(encoded.input_ids())


def test_an_empty_history_is_encoded(tokenizer: BehaviourTokenizer) -> None:
    encoded = tokenizer.encode((), tokenizer.target(watched("Heat")))
    assert encoded.first_segment_tokens == 2
    assert (encoded.behaviours, encoded.truncated) == (0, False)


def test_the_newest_behaviours_are_kept_whole(tokenizer: BehaviourTokenizer) -> None:
    history = tokenizer.pieces([watched(f"Film number {n} of many") for n in range(50)])
    target = tokenizer.target(watched("Fargo"))
    encoded = tokenizer.encode(history, target)
    text, _ = tokenizer.behaviour_text(history, target)
    assert encoded.truncated
    assert encoded.tokens <= tokenizer.settings.max_tokens
    assert encoded.tokens > tokenizer.settings.max_tokens - history[0].tokens - 1
    assert text.endswith("watch Film number 49 of many liked")
    assert text.startswith(f"watch Film number {50 - encoded.behaviours} ")


def test_a_long_behaviour_is_cut_at_its_item_text(tokenizer: BehaviourTokenizer) -> None:
    long = Fields("purchase", "word " * 50, value=20.0, y=1.0)
    piece = tokenizer.piece(long)
    assert piece.cut
    assert piece.tokens <= tokenizer.settings.max_behaviour_tokens
    assert piece.text.startswith("purchase word word")
    assert piece.text.endswith("word price 20 kept")
    assert tokenizer.encode([piece], tokenizer.target(watched("Heat"))).truncated


def test_an_item_of_one_overlong_word_is_dropped(tokenizer: BehaviourTokenizer) -> None:
    piece = tokenizer.piece(Fields("watch", "qzxjkqvz" * 12, y=1.0))
    assert piece.tokens <= tokenizer.settings.max_behaviour_tokens
    assert piece.text == "watch liked"


def test_special_tokens_in_texts_are_plain_text(tokenizer: BehaviourTokenizer) -> None:
    assert 102 not in tokenizer.words(["[SEP]"])[0].ids
    piece = tokenizer.piece(watched("[SEP] [CLS]"))
    assert piece.text == "watch (SEP) (CLS) liked"


def test_the_cache_evicts_the_least_recently_used_piece(minilm_dir: Path) -> None:
    tokenizer = BehaviourTokenizer.from_folder(minilm_dir, TextSettings(), cached_pieces=2)
    first, second = tokenizer.pieces([watched("Heat"), watched("Alien")])
    assert tokenizer.piece(watched("Heat")) is first
    tokenizer.piece(watched("Fargo"))
    assert tokenizer.piece(watched("Heat")) is first
    assert tokenizer.piece(watched("Alien")) is not second


def test_the_cache_is_bounded_in_bytes(minilm_dir: Path) -> None:
    tokenizer = BehaviourTokenizer.from_folder(minilm_dir, TextSettings(), cached_pieces=100)
    tokenizer.pieces([watched(f"{number} " + "long " * 600) for number in range(100)])
    kept = tokenizer._pieces
    assert 10 < len(kept) < 60
    taken = sum(deep_bytes((key, piece)) for key, piece in kept.items())
    assert 0.8 * tokenizer._pieces_bytes < taken < 1.1 * tokenizer._pieces_bytes <= 1.1 * 100 * 1024


def test_a_batch_with_cached_pieces_keeps_its_order(tokenizer: BehaviourTokenizer) -> None:
    titles = ["One", "Two", "Three", "Two", "Four"]
    tokenizer.piece(watched("Three"))
    pieces = tokenizer.pieces([watched(title) for title in titles])
    assert [piece.text for piece in pieces] == [f"watch {title} liked" for title in titles]
    assert pieces[1] is pieces[3]


def test_stored_texts_encode_like_the_scored_pieces(tokenizer: BehaviourTokenizer) -> None:
    history = tokenizer.pieces([watched(f"Film {n}") for n in range(30)])
    target = tokenizer.target(watched("Fargo"))
    rates = tokenizer.rates(count_habits([1.0] * 30), ItemCounts(9, 6))
    stored = tokenizer.behaviour_text(history, target, rates)
    encoded = tokenizer.encode_texts([stored, ("", stored[1])])
    assert encoded[0].ids == tokenizer.encode(history, target, rates).ids
    assert encoded[1].ids == tokenizer.encode((), target).ids


def test_a_smaller_limit_cuts_stored_texts_at_behaviours(
    tokenizer: BehaviourTokenizer, minilm_dir: Path
) -> None:
    smaller = BehaviourTokenizer.from_folder(minilm_dir, replace(TextSettings(), max_tokens=64))
    history = tokenizer.pieces([watched(f"Film {n}") for n in range(30)])
    target, rates = tokenizer.target(watched("Fargo")), tokenizer.rates(count_habits([1.0] * 30))
    stored = tokenizer.behaviour_text(history, target, rates)
    assert smaller.encode_texts([stored])[0].ids == smaller.encode(history, target, rates).ids


def test_rates_are_empty_before_the_first_outcome(tokenizer: BehaviourTokenizer, minilm_dir: Path) -> None:
    assert tokenizer.rates(count_habits([None])) == ()
    without = BehaviourTokenizer.from_folder(minilm_dir, TextSettings(habits=False, item_rates=False))
    assert without.rates(count_habits([1.0] * 9), ItemCounts(3, 1)) == ()


def test_rates_cover_the_user_and_the_item(tokenizer: BehaviourTokenizer, minilm_dir: Path) -> None:
    both = tokenizer.rates(count_habits([1.0] * 9), ItemCounts(3, 1))
    assert [piece.text for piece in both] == [
        "user likes 100 percent of several",
        "item liked by 35 percent of few",
    ]
    history, target = tokenizer.words(["watch Heat liked"]), tokenizer.target(watched("Fargo"))
    stored = tokenizer.behaviour_text(history, target, both)
    assert stored[0] == f"{both[0].text} ; {both[1].text} ; watch Heat liked"
    assert tokenizer.encode_texts([stored])[0].ids == tokenizer.encode(history, target, both).ids
    items_only = BehaviourTokenizer.from_folder(minilm_dir, TextSettings(habits=False))
    expected = items_only.encode(history, target, items_only.rates(item=ItemCounts(3, 1)))
    assert items_only.encode_texts([stored])[0].ids == expected.ids


def test_reprs_never_show_a_users_text(tokenizer: BehaviourTokenizer) -> None:
    piece = tokenizer.piece(watched("Secret"))
    assert "Secret" not in repr(piece)
    assert "Secret" not in repr(tokenizer.encode([piece], piece))


def test_conflicting_limits_are_refused(minilm_dir: Path) -> None:
    with pytest.raises(ValueError, match="max_tokens=40 must be at least 60"):
        BehaviourTokenizer.from_folder(minilm_dir, TextSettings(max_tokens=40))
    with pytest.raises(ValueError, match="max_behaviour_tokens=3"):
        BehaviourTokenizer.from_folder(minilm_dir, TextSettings(max_behaviour_tokens=3))


def test_a_context_dependent_tokenizer_is_refused() -> None:
    tokenizer = Tokenizer(models.BPE({**{chr(b): b for b in range(33, 127)}, "Ġ": 1, "[CLS]": 2}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A [CLS] $B:1", special_tokens=[("[CLS]", 2)]
    )
    with pytest.raises(TokenizerIncompatible, match="WordPiece"):
        BehaviourTokenizer(tokenizer, TextSettings())


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerIncompatible, match=r"tokenizer\.json"):
        BehaviourTokenizer.from_folder(tmp_path, TextSettings())
