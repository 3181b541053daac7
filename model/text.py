"""Behaviour texts: cleaning, and rendering of a behaviour as `action item_text value outcome`.

The text depends only on the behaviour's own fields, so that its token ids can be cached.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from model.words import RATES_START, outcome_words, value_words

SEPARATOR = ";"
"""The separator of behaviours. Cleaning removes it from all fields, so that a text can be split unambiguously."""

# A very long item text is truncated to this multiple of its limit before cleaning.
_RAW_CHARS_PER_CHAR = 16
_MARKUP = re.compile(r"<[/!?a-zA-Z][^<>]*>")
# Square brackets could spell a tokenizer's special tokens ([SEP], [MASK]); the separator is reserved.
_RESERVED = str.maketrans({"[": "(", "]": ")", SEPARATOR: ","})
_PLAIN_WORD = r"[!-%'-:=-Z\\^-~]+"  # printable ASCII except & ; < [ ]
_PLAIN = re.compile(f"{_PLAIN_WORD}(?: {_PLAIN_WORD})*")


class BehaviourFields(Protocol):
    """The fields that rendering needs; schemas.state_records.Behaviour has them."""

    action: str
    item_text: str
    value: float | None
    y: float | None
    z: float | None


@dataclass(frozen=True, slots=True)
class TextSettings:
    """How behaviours are rendered as text. Saved with a model, which must be used with its own settings.

    max_tokens: limit of the whole pair, special tokens included.
    max_behaviour_tokens: limit of one behaviour; the item text of a longer one is truncated.
    max_item_chars, max_action_chars: limits after cleaning.
    lowercase: whether the text is lower-cased; an uncased tokenizer does it anyway.
    habits, item_rates: whether the text begins with the user's and the item's rates in words.
    """

    max_tokens: int = 96
    max_behaviour_tokens: int = 28
    max_item_chars: int = 256
    max_action_chars: int = 32
    lowercase: bool = False
    habits: bool = True
    item_rates: bool = True


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A cleaned text. cut: whether it was truncated."""

    text: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """One behaviour as text.

    item_end: the index at which action and item text end; value and outcome follow. If the behaviour is too long, the
    item text is truncated there and the outcome is kept.
    cut: whether cleaning truncated the item text.
    """

    text: str
    item_end: int
    cut: bool


def clean(text: str, *, max_chars: int, lowercase: bool = False) -> Cleaned:
    """Normalise an untrusted text: one line, NFC, without markup or control characters.

    max_chars: limit of the result. `;` becomes `,` and square brackets become round ones, so that no text can contain
    the separator or a special token. Time is linear in the text's length, and bounded.
    """
    # The common case takes a single scan in C.
    if len(text) <= max_chars and _PLAIN.fullmatch(text):
        return Cleaned(text.lower() if lowercase else text, cut=False)
    raw = text[: max_chars * _RAW_CHARS_PER_CHAR]
    raw = _MARKUP.sub(" ", html.unescape(raw))
    # NFC comes before the reserved characters, because it turns the Greek question mark into `;`.
    raw = unicodedata.normalize("NFC", raw.lower() if lowercase else raw).translate(_RESERVED)
    # Categories Cc, Cf, Cs, Co, Cn: control, format, surrogate, private-use and unassigned characters.
    raw = "".join(" " if char.isspace() or unicodedata.category(char)[0] == "C" else char for char in raw)
    raw = " ".join(raw.split())
    cut = len(raw) > max_chars or len(text) > max_chars * _RAW_CHARS_PER_CHAR
    return Cleaned(raw[:max_chars].rstrip(), cut)


def render(behaviour: BehaviourFields, settings: TextSettings, *, with_outcome: bool = True) -> Rendered:
    """Render a behaviour as `action item_text value outcome`; unknown parts are omitted.

    with_outcome: False for the behaviour being scored, because the outcome may be known when an event is scored again.
    """
    action = clean(behaviour.action, max_chars=settings.max_action_chars, lowercase=settings.lowercase)
    item = clean(behaviour.item_text, max_chars=settings.max_item_chars, lowercase=settings.lowercase)
    tail = value_words(behaviour.action, behaviour.value)
    if with_outcome:
        tail = f"{tail} {outcome_words(behaviour.action, behaviour.y, behaviour.z)}".strip()
    head = f"{action.text} {item.text}".strip()
    return Rendered(f"{head} {tail}".strip(), len(head), item.cut)


def split_behaviours(history: str) -> list[str]:
    """Split a history text into its rates and behaviours, oldest first."""
    return history.split(f" {SEPARATOR} ") if history else []


def split_history(history: str) -> tuple[str, list[str]]:
    """Split a history text into its rates in words ("" if it has none) and its behaviours, oldest first."""
    parts = split_behaviours(history)
    count = 0
    while count < len(parts) and count < len(RATES_START) and parts[count].startswith(RATES_START):
        count += 1
    return f" {SEPARATOR} ".join(parts[:count]), parts[count:]


def join_history(rates: str, behaviours: Sequence[str]) -> str:
    """Join rates and behaviours to a history text; the inverse of split_history()."""
    return f" {SEPARATOR} ".join([rates, *behaviours] if rates else behaviours)
