"""Behaviours and habits rendered as text."""

import unicodedata
from dataclasses import dataclass

import pytest

from model.text import SEPARATOR, TextSettings, clean, render, split_behaviours
from model.words import count_habits, habit_words, outcome_words, value_words


@dataclass
class Fields:
    action: str
    item_text: str
    value: float | None = None
    y: float | None = None
    z: float | None = None


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("plain text stays 1995", "plain text stays 1995"),
        ("  two\t lines\r\nhere ", "two lines here"),
        ("<b>Sale</b>&nbsp;now &amp; here", "Sale now & here"),
        ("a < b and c > d", "a < b and c > d"),
        ("<script>alert(1)</script>x", "alert(1) x"),
        ("&lt;i&gt;hidden", "hidden"),
        ("nul\x00 bell\x07 joiner\u200d", "nul bell joiner"),
        ("half a pair \ud800 here", "half a pair here"),
        ("one; two", "one, two"),
        ("Greek question mark \u037e", "Greek question mark ,"),
        ("[SEP] [MASK]", "(SEP) (MASK)"),
        ("", ""),
    ],
)
def test_clean_makes_untrusted_text_safe(raw: str, cleaned: str) -> None:
    assert clean(raw, max_chars=100).text == cleaned


def test_clean_composes_accents() -> None:
    assert clean("cafe\u0301", max_chars=10).text == "caf\u00e9"


def test_clean_reports_truncation() -> None:
    assert clean("abcdef", max_chars=6) == clean("abcdef", max_chars=7)
    cut = clean("abc def", max_chars=4)
    assert (cut.text, cut.cut) == ("abc", True)
    assert clean("x" * 1000, max_chars=10).cut
    assert clean(" " * 1000 + "x", max_chars=10).cut  # the raw text is cut before it is cleaned


def test_clean_can_lower_case() -> None:
    assert clean("ABC", max_chars=9, lowercase=True).text == "abc"
    assert clean("ÀÉ;", max_chars=9, lowercase=True).text == "àé,"


def test_clean_is_quick_on_hostile_markup() -> None:
    hostile = "<" * 1_000_000 + "a" * 1_000_000
    assert len(clean(hostile, max_chars=100).text) == 100


def test_a_behaviour_renders_action_item_value_and_outcome() -> None:
    purchase = Fields("purchase", "Red <b>lamp</b>", value=19.99, y=1.0)
    rendered = render(purchase, TextSettings())
    assert rendered.text == "purchase Red lamp price 20 kept"
    assert rendered.text[: rendered.item_end] == "purchase Red lamp"


def test_an_unknown_outcome_and_value_render_nothing() -> None:
    assert render(Fields("watch", "Heat 1995"), TextSettings()).text == "watch Heat 1995"
    assert render(Fields("watch", ""), TextSettings()).text == "watch"
    assert render(Fields("", ""), TextSettings()).text == ""


def test_the_behaviour_being_scored_never_shows_its_outcome() -> None:
    known = Fields("watch", "Heat", y=1.0, z=1.0)
    assert render(known, TextSettings(), with_outcome=False).text == "watch Heat"


@pytest.mark.parametrize(
    ("action", "y", "z", "words"),
    [
        ("watch", 1.0, None, "liked"),
        ("watch", 0.0, None, "disliked"),
        ("watch", 1.0, 1.0, "loved"),
        ("watch", 1.0, 0.75, "liked"),
        ("watch", 0.0, 0.5, "mixed"),
        ("watch", 0.0, 0.0, "hated"),
        ("impression", 0.0, 0.3, "ignored"),
        ("purchase", 1.0, 0.2, "kept"),
        ("something new", 1.0, None, "accepted"),
        ("something new", 0.49, None, "rejected"),
        ("watch", None, None, ""),
    ],
)
def test_outcome_words_depend_on_the_action(
    action: str, y: float | None, z: float | None, words: str
) -> None:
    assert outcome_words(action, y, z) == words


@pytest.mark.parametrize(
    ("action", "value", "words"),
    [
        ("cart", 0.0, "free"),
        ("cart", 0.5, "price under 1"),
        ("cart", 12.0, "price 10"),
        ("purchase", 999.0, "price 1000"),
        ("purchase", 3.4, "price 2"),
        ("purchase", -1.0, "price negative"),
        ("purchase", 1e9, "price huge"),
        ("rate", 4.0, "rating 4"),
        ("rate", 99.0, "rating 10"),
        ("watch", 0.0, "an instant"),
        ("watch", 90.0, "minutes"),
        ("watch", 5400.0, "two hours"),
        ("watch", 1e12, "many hours"),
        ("watch", float("nan"), ""),
        ("cart", float("inf"), ""),
        ("cart", None, ""),
    ],
)
def test_values_become_a_few_words(action: str, value: float | None, words: str) -> None:
    assert value_words(action, value) == words


def test_prices_have_a_small_vocabulary() -> None:
    assert len({value_words("cart", cents / 100) for cents in range(0, 2_000_000, 37)}) < 25


def test_split_reverses_the_join() -> None:
    assert split_behaviours(f"a {SEPARATOR} b c") == ["a", "b c"]
    assert split_behaviours("") == []


def test_every_printable_ascii_character_survives_or_is_reserved() -> None:
    for code in range(0x20, 0x7F):
        cleaned = clean(f"x{chr(code)}x", max_chars=9).text
        expected = {"[": "x(x", "]": "x)x", ";": "x,x", " ": "x x"}.get(chr(code), f"x{chr(code)}x")
        assert cleaned == expected
        assert unicodedata.is_normalized("NFC", cleaned)


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        ([], ""),
        ([None, None], ""),
        ([1.0], "user likes 100 percent of 1"),
        ([1.0, None, 0.0], "user likes 50 percent of 2"),
        ([0.0, 0.0, 1.0], "user likes 35 percent of few"),
        ([1.0] * 10, "user likes 100 percent of several"),
        ([0.0] * 10 + [1.0] * 10, "user likes 50 percent of many, lately 100"),
        ([1.0] * 13 + [0.0] * 7 + [None], "user likes 65 percent of many, lately 30"),
    ],
)
def test_habits_are_rendered_as_rounded_rates(outcomes: list[float | None], words: str) -> None:
    assert habit_words(count_habits(outcomes)) == words
