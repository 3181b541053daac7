"""The texts of behaviours by their keys, from what examples say: snapshots hold keys alone. Pure.

An example's target is the text of its own key. The past is said in its history, each behaviour followed by its outcome
in words; those words are taken off, as many as it takes to come to a key that is asked for.
"""

from collections.abc import Iterable
from itertools import chain

import numpy as np

from model.features.keys import NO_KEY, text_key
from model.text import split_history
from trainer.dataset import Example
from trainer.late_snapshots import snapshot_of

_MOST_OUTCOME_WORDS = 4


def known_texts(examples: Iterable[Example]) -> dict[int, str]:
    """Return texts by key: of the examples themselves first, in their order, then of what their snapshots hold."""
    own: dict[int, str] = {}
    past: set[int] = set()
    said: dict[str, None] = {}  # in order, so that the same examples give the same texts in the same order
    for example in examples:
        snapshot = snapshot_of(example)
        if snapshot is None:
            continue
        own.setdefault(snapshot.text_key, example.target)
        past.update(np.unique(snapshot.past["text"]).tolist())
        said |= dict.fromkeys(split_history(example.history)[1])
    missing = past - own.keys() - {NO_KEY}
    return own | _found(said, missing) if missing else own


def _found(said: Iterable[str], missing: set[int]) -> dict[int, str]:
    """Return those texts that have a key that is missing."""
    found: dict[int, str] = {}
    for text in chain.from_iterable(map(_without_outcome, said)):
        key = text_key(text)
        if key in missing:
            found.setdefault(key, text)
    return found


def _without_outcome(text: str) -> list[str]:
    words = text.split(" ")
    return [
        " ".join(words[: len(words) - off]) for off in range(min(_MOST_OUTCOME_WORDS, len(words) - 1) + 1)
    ]
