"""Behaviour texts by key, recovered from examples, because snapshots contain keys only. No I/O.

An example's target is the text of its own key. Its history contains the texts of past behaviours, each followed by its
outcome in words. The lookup strips trailing words until the rest hashes to a wanted key.
"""

from collections.abc import Iterable
from itertools import chain

import numpy as np

from model.features.keys import NO_KEY, text_key
from model.text import split_history
from trainer.dataset import Example
from trainer.late_snapshots import snapshot_of

_MAX_OUTCOME_WORDS = 4


def known_texts(examples: Iterable[Example]) -> dict[int, str]:
    """Return texts by key: first the examples' own, in order, then those of their snapshots' past."""
    own: dict[int, str] = {}
    past: set[int] = set()
    histories: dict[str, None] = {}  # an ordered set, so that the result's order is deterministic
    for example in examples:
        snapshot = snapshot_of(example)
        if snapshot is None:
            continue
        own.setdefault(snapshot.text_key, example.target)
        past.update(np.unique(snapshot.past["text"]).tolist())
        histories |= dict.fromkeys(split_history(example.history)[1])
    missing = past - own.keys() - {NO_KEY}
    return own | _found(histories, missing) if missing else own


def _found(histories: Iterable[str], missing: set[int]) -> dict[int, str]:
    """Return the texts of the missing keys that occur in the histories."""
    found: dict[int, str] = {}
    for text in chain.from_iterable(map(_without_outcome, histories)):
        key = text_key(text)
        if key in missing:
            found.setdefault(key, text)
    return found


def _without_outcome(text: str) -> list[str]:
    """Return the text with 0 to 4 trailing words removed, but at least one word left."""
    words = text.split(" ")
    return [" ".join(words[: len(words) - off]) for off in range(min(_MAX_OUTCOME_WORDS, len(words) - 1) + 1)]
