"""The behaviour text: cleaning, and rendering one behaviour as `action item_text value outcome`.

Pure, and a function of the behaviour's own fields only, so that its token ids can be cached.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from model.words import RATES_START, outcome_words, value_words

SEPARATOR = ";"
"""Stands between behaviours; cleaning takes it out of everything else, so that it splits a text exactly."""

_RAW_CHARS_PER_CHAR = 16  # a huge item text is cut before anything looks at it
_MARKUP = re.compile(r"<[/!?a-zA-Z][^<>]*>")
# Square brackets spell a tokenizer's special tokens ([SEP], [MASK]); the separator is ours.
_RESERVED = str.maketrans({"[": "(", "]": ")", SEPARATOR: ","})
_PLAIN_WORD = r"[!-%'-:=-Z\\^-~]+"  # printable ASCII but & ; < [ ]
_PLAIN = re.compile(f"{_PLAIN_WORD}(?: {_PLAIN_WORD})*")


class BehaviourFields(Protocol):
    """What a behaviour must have to be rendered; schemas.records.Behaviour has it."""

    action: str
    item_text: str
    value: float | None
    y: float | None
    z: float | None


@dataclass(frozen=True, slots=True)
class TextSettings:
    """How behaviours become text; saved with a model, because it only understands its own way.

    max_tokens: of the whole pair, special tokens included.
    max_behaviour_tokens: of one behaviour; a longer one loses the end of its item text.
    max_item_chars, max_action_chars: after cleaning.
    lowercase: in the text itself; an uncased tokenizer lower-cases anyway.
    habits: whether the text begins with the user's rates in words; item_rates: and with the item's.
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
    """A cleaned text, and whether it was cut."""

    text: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """One behaviour as text.

    item_end: where the action and item text end; value and outcome follow. A behaviour that is too
    long loses the end of its item text, never its outcome.
    cut: whether cleaning cut the item text.
    """

    text: str
    item_end: int
    cut: bool


def clean(text: str, *, max_chars: int, lowercase: bool = False) -> Cleaned:
    """Make a foreign text safe to render: one line, NFC, without markup or control characters.

    max_chars: of the result. `;` becomes `,` and square brackets become round ones, so that no text
    can spell our separator or a special token. Time is linear in the text's length, and bounded.
    """
    if len(text) <= max_chars and _PLAIN.fullmatch(text):  # the common case, by one scan in C
        return Cleaned(text.lower() if lowercase else text, cut=False)
    raw = text[: max_chars * _RAW_CHARS_PER_CHAR]
    raw = _MARKUP.sub(" ", html.unescape(raw))
    # NFC before the reserved characters: it makes a `;` of the Greek question mark.
    raw = unicodedata.normalize("NFC", raw.lower() if lowercase else raw).translate(_RESERVED)
    # Categories Cc, Cf, Cs, Co, Cn: controls, invisible marks, halves of surrogate pairs, the unassigned.
    raw = "".join(" " if char.isspace() or unicodedata.category(char)[0] == "C" else char for char in raw)
    raw = " ".join(raw.split())
    cut = len(raw) > max_chars or len(text) > max_chars * _RAW_CHARS_PER_CHAR
    return Cleaned(raw[:max_chars].rstrip(), cut)


def render(behaviour: BehaviourFields, settings: TextSettings, *, with_outcome: bool = True) -> Rendered:
    """Render one behaviour as `action item_text value outcome`, each part only where it is known.

    with_outcome: False for the behaviour being scored, whose outcome may be known already when an
    event is scored again.
    """
    action = clean(behaviour.action, max_chars=settings.max_action_chars, lowercase=settings.lowercase)
    item = clean(behaviour.item_text, max_chars=settings.max_item_chars, lowercase=settings.lowercase)
    tail = value_words(behaviour.action, behaviour.value)
    if with_outcome:
        tail = f"{tail} {outcome_words(behaviour.action, behaviour.y, behaviour.z)}".strip()
    head = f"{action.text} {item.text}".strip()
    return Rendered(f"{head} {tail}".strip(), len(head), item.cut)


def split_behaviours(history: str) -> list[str]:
    """Split a history text into its behaviours (and its rates), oldest first."""
    return history.split(f" {SEPARATOR} ") if history else []


def split_history(history: str) -> tuple[str, list[str]]:
    """Split a history text into its rates in words ("" if it has none) and its behaviours, oldest first."""
    parts = split_behaviours(history)
    count = 0
    while count < len(parts) and count < len(RATES_START) and parts[count].startswith(RATES_START):
        count += 1
    return f" {SEPARATOR} ".join(parts[:count]), parts[count:]


def join_history(rates: str, behaviours: Sequence[str]) -> str:
    """Put together again what split_history() took apart."""
    return f" {SEPARATOR} ".join([rates, *behaviours] if rates else behaviours)
