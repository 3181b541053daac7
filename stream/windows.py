"""The sliding window of one user: the last behaviours by event time, whatever order they came in. Pure.

A window is a value: `insert` and `with_outcome` return a new one, so that layers can hold it.

The same behaviours give the same window in any order of arrival: it is the longest newest-first run that fits the
limits, and `floor` remembers the newest behaviour that did not, so that an older and smaller one which
comes later cannot slip in behind it.

Source: DESIGN section 4.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from model.tokens import Piece
from model.words import NO_HABITS, Habits, count_habits
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


@dataclass(slots=True)
class Window:
    """Behaviours oldest first, and the floor below which nothing enters; treat it as a value.

    The rest is derived and carried along, so that an event costs the same in a long window as in a short one:
    the bytes of the blocks, the entries' event ids, and the counts of their outcomes. words: the tokenizer that made
    the entries' pieces.
    """

    entries: tuple[Entry, ...] = ()
    size_bytes: int = 0
    floor: Position | None = None
    event_ids: tuple[str, ...] = ()
    habits: Habits = NO_HABITS
    words: object = field(default=None, compare=False)

    @classmethod
    def of(cls, entries: tuple[Entry, ...], floor: Position | None = None, words: object = None) -> Self:
        """Return the window with these entries, oldest first, and derive the rest."""
        return cls(
            entries,
            sum(len(entry.block) for entry in entries),
            floor,
            tuple(entry.event_id for entry in entries),
            outcomes_of(entries),
            words,
        )


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How much of the past is kept. A single block is at most max_bytes: the caller cuts its texts to that."""

    max_behaviours: int = 50
    max_bytes: int = 4096


EMPTY = Window()


def find(window: Window, event_id: str) -> int | None:
    """Return the index of an event in the window, or None."""
    if event_id not in window.event_ids:  # a scan in C: nearly every event is new
        return None
    return window.event_ids.index(event_id)


def history(window: Window, position: Position) -> tuple[Entry, ...]:
    """Return what happened before a position: what the text as of that event may know.

    For an event that comes in time this is `window.entries` itself.
    """
    entries = window.entries
    if not entries or entries[-1].position < position:
        return entries
    return entries[: bisect_left(entries, position, key=lambda entry: entry.position)]


def outcomes_of(entries: Iterable[Entry]) -> Habits:
    """Count what came of these behaviours."""
    return count_habits(entry.behaviour.y for entry in entries)


def insert(window: Window, entry: Entry, limits: WindowLimits) -> Window:
    """Return the window with a behaviour put where it belongs by time, and cut to the limits.

    The same event again changes nothing. One older than the floor does not enter.
    """
    return window if entry.event_id in window.event_ids else insert_new(window, entry, limits)


def insert_new(window: Window, entry: Entry, limits: WindowLimits) -> Window:
    """Return what insert() does, for an event that is known not to be in the window."""
    if window.floor is not None and entry.position <= window.floor:
        return window
    entries = window.entries
    if entry.behaviour.y is None and (not entries or entries[-1].position < entry.position):
        return _appended(window, entry, limits)
    before = history(window, entry.position)
    return _recounted(window, (*before, entry, *entries[len(before) :]), limits)


def with_outcome(window: Window, index: int, entry: Entry, limits: WindowLimits) -> Window:
    """Return the window with the entry at index replaced by one that knows its outcome."""
    entries = (*window.entries[:index], entry, *window.entries[index + 1 :])
    return _recounted(window, entries, limits)


def _recounted(before: Window, entries: tuple[Entry, ...], limits: WindowLimits) -> Window:
    window = Window.of(entries, before.floor, before.words)
    start, _ = _excess(entries, window.size_bytes, limits)
    return Window.of(entries[start:], entries[start - 1].position, before.words) if start else window


def _appended(window: Window, entry: Entry, limits: WindowLimits) -> Window:
    """Put the newest behaviour, whose outcome is not known, at the end: the way of nearly all events."""
    entries = (*window.entries, entry)
    event_ids = (*window.event_ids, entry.event_id)
    start, size_bytes = _excess(entries, window.size_bytes + len(entry.block), limits)
    if not start:
        return Window(entries, size_bytes, window.floor, event_ids, window.habits, window.words)
    kept, habits = entries[start:], window.habits
    if habits.known and any(dropped.behaviour.y is not None for dropped in entries[:start]):
        habits = outcomes_of(kept)
    return Window(kept, size_bytes, entries[start - 1].position, event_ids[start:], habits, window.words)


def _excess(entries: tuple[Entry, ...], size_bytes: int, limits: WindowLimits) -> tuple[int, int]:
    """Return how many of the oldest must go, and the bytes of the blocks that stay."""
    start = max(0, len(entries) - limits.max_behaviours)
    for entry in entries[:start]:
        size_bytes -= len(entry.block)
    while size_bytes > limits.max_bytes:
        size_bytes -= len(entries[start].block)
        start += 1
    return start, size_bytes


def outcome_known(behaviour: Behaviour, y: float, z: float | None) -> Behaviour:
    """Return the behaviour with its outcome."""
    return replace(behaviour, y=y, z=z)
