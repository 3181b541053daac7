"""Concatenated token ids equal those of the whole text, for any texts."""

from dataclasses import dataclass
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from model.text import SEPARATOR, TextSettings, clean, render, split_behaviours
from model.tokens import BehaviourTokenizer
from model.words import ItemCounts, count_habits
from sway.base_model import minilm_dir


@dataclass
class Fields:
    action: str
    item_text: str
    value: float | None = None
    y: float | None = None
    z: float | None = None


@cache
def tokenizer() -> BehaviourTokenizer:
    return BehaviourTokenizer.from_folder(minilm_dir(), TextSettings())


@cache
def whole_text_tokenizer() -> Tokenizer:
    plain = Tokenizer.from_file(str(minilm_dir() / "tokenizer.json"))
    plain.no_padding()
    plain.no_truncation()
    return plain


awkward = st.sampled_from(
    [
        "[SEP]",
        "[MASK]",
        ";",
        " ; ",
        "<b>",
        "&#59;",
        "\u037e",
        "e\u0301",
        "\u0301",
        "漢字",
        "ΣΑΣ",
        "İ",
        "👩‍🚀",
        "##ing",
    ]
)
words = st.lists(
    st.one_of(st.text(max_size=12), awkward, st.sampled_from(["film", "Heat", "1995"])), max_size=40
)
item_texts = words.map(" ".join)
fractions = st.one_of(st.none(), st.floats(0, 1))
behaviours = st.builds(
    Fields,
    action=st.one_of(st.sampled_from(["watch", "purchase", "click", "rate"]), st.text(max_size=40)),
    item_text=item_texts,
    value=st.one_of(st.none(), st.floats()),
    y=fractions,
    z=fractions,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(behaviours, max_size=12), behaviours)
def test_concatenated_pieces_encode_like_the_whole_text(past: list[Fields], scored: Fields) -> None:
    ours = tokenizer()
    history, target = ours.pieces(past), ours.target(scored)
    rates = ours.rates(
        count_habits([behaviour.y for behaviour in past]), ItemCounts(len(past), len(past) // 2)
    )
    encoded = ours.encode(history, target, rates)
    whole = whole_text_tokenizer().encode(*ours.behaviour_text(history, target, rates))
    assert encoded.input_ids().tolist() == whole.ids
    assert encoded.first_segment_tokens == whole.type_ids.count(0)
    assert encoded.tokens == len(whole.ids) <= ours.settings.max_tokens


@settings(max_examples=100, deadline=None)
@given(st.lists(behaviours, max_size=12), behaviours)
def test_the_text_keeps_the_newest_behaviours_that_fit(past: list[Fields], scored: Fields) -> None:
    ours = tokenizer()
    history, target = ours.pieces(past), ours.target(scored)
    encoded = ours.encode(history, target)
    kept, _ = ours.behaviour_text(history, target)
    newest = history[len(history) - encoded.behaviours :]
    assert kept == f" {SEPARATOR} ".join(piece.text for piece in newest)
    if encoded.behaviours < len(history):
        left_out = history[-encoded.behaviours - 1]
        assert encoded.truncated
        assert encoded.tokens + left_out.tokens + bool(newest) > ours.settings.max_tokens


@settings(max_examples=100, deadline=None)
@given(st.lists(behaviours, max_size=12), behaviours)
def test_stored_texts_encode_to_the_same_ids(past: list[Fields], scored: Fields) -> None:
    ours = tokenizer()
    history, target = ours.pieces(past), ours.target(scored)
    stored = ours.behaviour_text(history, target)
    assert ours.encode_texts([stored])[0].ids == ours.encode(history, target).ids


@settings(max_examples=300, deadline=None)
@given(item_texts, st.integers(1, 60), st.booleans())
def test_cleaned_text_is_short_printable_and_without_separators(
    raw: str, max_chars: int, lowercase: bool
) -> None:
    text = clean(raw, max_chars=max_chars, lowercase=lowercase).text
    assert len(text) <= max_chars
    assert text == " ".join(text.split())
    assert not set(text) & set("[];")
    assert all(char.isprintable() for char in text)
    assert clean(raw, max_chars=max_chars, lowercase=lowercase).text == text


@settings(max_examples=100, deadline=None)
@given(st.lists(behaviours.map(lambda b: render(b, TextSettings()).text), min_size=2, max_size=6))
def test_a_history_splits_into_its_behaviours(rendered: list[str]) -> None:
    assert split_behaviours(f" {SEPARATOR} ".join(rendered)) == rendered
