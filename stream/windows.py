"""The sliding window of one user: the last behaviours by event time, whatever order they came in. Pure.

A window is a value: `insert` and `with_outcome` return a new one, so that layers can hold it.

The same behaviours give the same window in any order of arrival: it is the longest newest-first run that fits the
limits, and `floor` remembers the newest behaviour that did not, so that an older and smaller one which
comes later cannot slip in behind it.

Source: DESIGN section 4.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import NamedTuple

from model.tokens import Piece
from schemas.records import Behaviour

Position = tuple[int, int]
"""(event time in epoch ms, source offset): the order of a window."""


class Entry(NamedTuple):
    """One behaviour of a window, with what is derived from it once."""

    position: Position
    event_id: str
    behaviour: Behaviour
    block: bytes  # as it stands in the state
    piece: Piece  # its words and token ids, outcome included


@dataclass(frozen=True, slots=True)
class Window:
    """Behaviours oldest first, the bytes of their blocks, and the floor below which nothing enters."""

    entries: tuple[Entry, ...] = ()
    size_bytes: int = 0
    floor: Position | None = None


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How much of the past is kept. A single block is at most max_bytes: the caller cuts its texts to that."""

    max_behaviours: int = 50
    max_bytes: int = 4096


EMPTY = Window()


def find(window: Window, event_id: str) -> int | None:
    """Return the index of an event in the window, or None."""
    entries = window.entries
    for index in range(len(entries) - 1, -1, -1):  # what is looked for is nearly always among the newest
        if entries[index].event_id == event_id:
            return index
    return None


def history(window: Window, position: Position) -> tuple[Entry, ...]:
    """Return what happened before a position: what the text as of that event may know."""
    entries = window.entries
    if not entries or entries[-1].position < position:
        return entries
    return entries[: bisect_left(entries, position, key=lambda entry: entry.position)]


def insert(window: Window, entry: Entry, limits: WindowLimits) -> Window:
    """Return the window with a behaviour put where it belongs by time, and cut to the limits.

    The same event again changes nothing. One older than the floor does not enter.
    """
    if (window.floor is not None and entry.position <= window.floor) or find(
        window, entry.event_id
    ) is not None:
        return window
    before = history(window, entry.position)
    entries = (*before, entry, *window.entries[len(before) :])
    return _cut(entries, window.size_bytes + len(entry.block), window.floor, limits)


def with_outcome(window: Window, index: int, entry: Entry, limits: WindowLimits) -> Window:
    """Return the window with the entry at index replaced by one that knows its outcome."""
    old = window.entries[index]
    entries = (*window.entries[:index], entry, *window.entries[index + 1 :])
    return _cut(entries, window.size_bytes + len(entry.block) - len(old.block), window.floor, limits)


def _cut(entries: tuple[Entry, ...], size_bytes: int, floor: Position | None, limits: WindowLimits) -> Window:
    if len(entries) <= limits.max_behaviours and size_bytes <= limits.max_bytes:
        return Window(entries, size_bytes, floor)
    start = max(0, len(entries) - limits.max_behaviours)
    size_bytes -= sum(len(entry.block) for entry in entries[:start])
    while size_bytes > limits.max_bytes:
        size_bytes -= len(entries[start].block)
        start += 1
    return Window(entries[start:], size_bytes, entries[start - 1].position if start else floor)


def outcome_known(behaviour: Behaviour, y: float, z: float | None) -> Behaviour:
    """Return the behaviour with its outcome."""
    return replace(behaviour, y=y, z=z)
