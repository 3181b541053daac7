"""The sliding window of one user: the last behaviours by event time, whatever order they came in. Pure.

A window is a value: `insert` and `with_outcome` return a new one, so that layers can hold it. It is kept as it stands
in the state, a few KB of bytes; decoded, it would take ten times as much. What each event needs is carried along:
the outcomes, the newest behaviour's place, the words of the newest behaviours, which nearly all texts reach, and
columns of what a snapshot holds of each.

The same behaviours give the same window in any order of arrival: it is the longest newest-first run that fits the
limits, and `floor` remembers the newest behaviour that did not, so that an older and smaller one which
comes later cannot slip in behind it.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from typing import Any, NamedTuple, Protocol, Self

from model.features.history import Past
from model.tokens import Piece
from model.words import RECENT, Habits
from schemas.records import Behaviour
from schemas.window_rows import UnusualError
from schemas.window_state import (
    block_end,
    block_head,
    block_outcome,
    block_starts,
    decode_block,
    split_body,
)
from stream.window_columns import POSITIVE, Columns, Encoded, told_of
from stream.word_keys import WordKeys

Position = tuple[int, int]
"""(event time in epoch ms, source offset): the order of a window."""

KEPT_PIECES = 12
"""Of so many of the newest behaviours a window keeps the words; those of older ones are made again when asked for."""


class Tokenizer(Protocol):
    """Makes the words of behaviours; model.tokens.BehaviourTokenizer is one."""

    def pieces(self, behaviours: Sequence[Behaviour]) -> list[Piece]:
        """Return the Pieces of behaviours, outcomes included, order kept."""
        ...

    def targets(self, behaviours: Sequence[Behaviour]) -> list[Piece]:
        """Return the Pieces of behaviours without their outcomes, order kept."""
        ...


class Entry(NamedTuple):
    """One behaviour on its way into a window, with what is derived from it once."""

    position: Position
    event_id: str
    behaviour: Behaviour
    block: bytes  # as it stands in the state
    piece: Piece  # its words and token ids, outcome included


class Stored(NamedTuple):
    """One behaviour of a window, decoded."""

    position: Position
    event_id: str
    behaviour: Behaviour
    block: bytes

    @classmethod
    def of(cls, block: bytes) -> Self:
        """Decode a block."""
        behaviour = decode_block(block)
        return cls((behaviour.occurred_at, behaviour.offset), behaviour.event_id, behaviour, block)


@dataclass(slots=True)
class Window:
    """Behaviours oldest first, and the floor below which nothing enters; treat it as a value.

    body: the blocks of the behaviours in a row. The rest is derived: count, how many; newest, the place of the last;
    words, who makes them; and what is None, or lacking, until something asks for it: pieces, the Pieces of the newest
    ones; columns, of columns_of(); told, a byte a behaviour that says its outcome; starts, where the blocks start.
    """

    body: bytes = b""
    floor: Position | None = None
    count: int = field(default=0, compare=False)
    newest: Position | None = field(default=None, compare=False)
    pieces: tuple[Piece, ...] = field(default=(), compare=False)
    words: Any = field(default=None, compare=False)
    columns: Columns | None = field(default=None, compare=False)
    told: bytes | None = field(default=None, compare=False)
    starts: list[int] | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls, blocks: Sequence[bytes], floor: Position | None = None, words: Tokenizer | None = None
    ) -> Self:
        """Return the window with these blocks, oldest first. Raises DecodeError."""
        starts = list(accumulate([len(block) for block in blocks[:-1]], initial=0)) if blocks else []
        return cls.read(b"".join(blocks), starts, floor, words)

    @classmethod
    def read(
        cls, body: bytes, starts: list[int], floor: Position | None = None, words: Tokenizer | None = None
    ) -> Self:
        """Return the window with the blocks of a body, which start there. Raises DecodeError."""
        newest = _position(body[starts[-1] :]) if starts else None
        return cls(body, floor, len(starts), newest, (), words, starts=starts)

    @property
    def outcomes(self) -> bytes:
        """What came of each behaviour, a byte each."""
        if self.told is None:
            self.told = bytes([told_of(block_outcome(block)) for block in split_body(self.body)])
        return self.told

    @property
    def places(self) -> list[int]:
        """Where each block starts in the body."""
        if self.starts is None:
            self.starts = block_starts(self.body)
        return self.starts

    def block(self, index: int) -> bytes:
        """Return a behaviour as it stands in the state; index: from 0, the oldest."""
        return self.body[slice(*self.span(index))]

    def span(self, index: int) -> tuple[int, int]:
        """Return where a behaviour's block starts and ends in the body."""
        places = self.places
        return places[index], places[index + 1] if index + 1 < len(places) else len(self.body)

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return True  # a window without behaviours is a window

    @property
    def size_bytes(self) -> int:
        """The bytes of its blocks."""
        return len(self.body)

    @property
    def entries(self) -> tuple[Stored, ...]:
        """The behaviours, oldest first, decoded anew at each call."""
        return tuple(Stored.of(block) for block in split_body(self.body))

    @property
    def habits(self) -> Habits:
        """What came of the behaviours."""
        return _habits(self.outcomes)


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How much of the past is kept. A single block is at most max_bytes: the caller cuts its texts to that."""

    max_behaviours: int = 50
    max_bytes: int = 4096


EMPTY = Window()


class History(Sequence[Piece]):
    """The words of a window's oldest behaviours, oldest first; made only as far back as a text reaches."""

    __slots__ = ("_count", "_window")

    def __init__(self, window: Window, count: int) -> None:
        """count: how many, from the oldest."""
        self._window = window
        self._count = count

    @property
    def habits(self) -> Habits:
        """What came of these behaviours."""
        return _habits(self._window.outcomes[: self._count])

    def newest(self, count: int) -> list[Piece]:
        """Return the words of the newest so many of them, oldest first."""
        return list(islice(reversed(self), count))[::-1]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return self.newest(self._count)[index]

    def __reversed__(self) -> Iterator[Piece]:
        window, later = self._window, len(self._window) - self._count
        if len(window.pieces) < min(KEPT_PIECES, len(window)):
            window.pieces = tuple(_pieces(window, len(window) - KEPT_PIECES, len(window)))
        kept = window.pieces
        yield from reversed(kept[: len(kept) - later] if later < len(kept) else ())
        end = min(self._count, len(window) - len(kept))
        while end > 0:
            start = max(0, end - KEPT_PIECES)
            yield from reversed(_pieces(window, start, end))
            end = start


def find(window: Window, event_id: str) -> int | None:
    """Return the index of an event in the window, or None."""
    wanted = event_id.encode()
    at = window.body.find(wanted)  # a scan in C: nearly every event is new
    while at >= 0:
        index = bisect_right(window.places, at) - 1
        # The id is the first text of a block, but another text may hold it too.
        if block_head(window.block(index))[0] == event_id:
            return index
        at = window.body.find(wanted, at + 1)
    return None


def stored(window: Window, index: int) -> Stored:
    """Return a behaviour of the window."""
    return Stored.of(window.block(index))


def history(window: Window, position: Position) -> History:
    """Return what happened before a position: what the text as of that event may know."""
    return History(window, _count_before(window, position))


def columns_of(window: Window, residuals: bytes) -> Columns:
    """Return the columns of a window, made of its behaviours if there are none yet.

    residuals: of its behaviours, as Columns.residuals() returned them.
    """
    if window.columns is None:
        behaviours = behaviours_before(window.body, len(window))
        texts = [piece.text for piece in window.words.targets(behaviours)] if behaviours else []
        window.columns = Columns.of(behaviours, texts, residuals)
    return window.columns


def make_columns(windows: Sequence[Window], residuals: Sequence[bytes], keys: WordKeys) -> None:
    """Let windows have their columns, as columns_of() makes them, at a fraction of its cost.

    residuals: of each. keys: of the tokenizer that makes their words.
    """
    wanted = [
        (window, Encoded(window.body, window.places, of_window))
        for window, of_window in zip(windows, residuals, strict=True)
        if window.columns is None and len(window)
    ]
    if not wanted:
        return
    with suppress(UnusualError):  # then columns_of() makes them
        made = Columns.of_many([encoded for _, encoded in wanted], keys)
        for (window, _), (columns, told) in zip(wanted, made, strict=True):
            window.columns, window.told = columns, told


def behaviours_before(body: bytes, count: int) -> list[Behaviour]:
    """Return the oldest so many behaviours of a window's body, decoded."""
    return [decode_block(block) for block in split_body(body)[:count]]


def insert(window: Window, entry: Entry, limits: WindowLimits) -> Window:
    """Return the window with a behaviour put where it belongs by time, and cut to the limits.

    The same event again changes nothing. One older than the floor does not enter.
    """
    return window if find(window, entry.event_id) is not None else insert_new(window, entry, limits)


def insert_new(window: Window, entry: Entry, limits: WindowLimits) -> Window:
    """Return what insert() does, for an event that is known not to be in the window."""
    if window.floor is not None and entry.position <= window.floor:
        return window
    outcome = bytes((told_of(entry.behaviour.y),))
    columns, told = window.columns if entry.behaviour.y is None else None, window.told
    if window.newest is None or window.newest < entry.position:
        whole = len(window.pieces) == min(KEPT_PIECES, len(window))  # else there would be a hole between them
        pieces, newest = (*window.pieces, entry.piece)[-KEPT_PIECES:] if whole else (), entry.position
        count, at = len(window), len(window.body)
    else:
        pieces, newest = (), window.newest
        count = _count_before(window, entry.position)
        at = window.span(count)[0]
    if columns is not None:
        columns = columns.with_behaviour(count, entry.behaviour, entry.piece.text)
    if told is not None:
        told = told[:count] + outcome + told[count:]
    body = window.body[:at] + entry.block + window.body[at:]
    return _cut(
        Window(body, window.floor, len(window) + 1, newest, pieces, window.words, columns, told), limits
    )


def with_outcome(
    window: Window, index: int, entry: Entry, limits: WindowLimits, past: Past | None = None
) -> Window:
    """Return the window with the entry at index replaced by one that knows its outcome.

    past: the behaviour as the columns are to have it; without it they are made anew when they are asked for.
    """
    start, end = window.span(index)
    body = window.body[:start] + entry.block + window.body[end:]
    columns, told, pieces = None, window.told, window.pieces
    if told is not None:
        told = told[:index] + bytes((told_of(entry.behaviour.y),)) + told[index + 1 :]
    at = index - len(window) + len(pieces)
    if at >= 0:
        pieces = (*pieces[:at], entry.piece, *pieces[at + 1 :])
    if window.columns is not None and past is not None:
        columns = window.columns.with_outcome(index, past.y, past.z, past.residual)
    changed = Window(body, window.floor, len(window), window.newest, pieces, window.words, columns, told)
    return _cut(changed, limits)


def outcome_known(behaviour: Behaviour, y: float, z: float | None) -> Behaviour:
    """Return the behaviour with its outcome."""
    return replace(behaviour, y=y, z=z)


def _cut(window: Window, limits: WindowLimits) -> Window:
    """Drop the oldest behaviours that are beyond the limits, from a window that nobody else has yet."""
    body = window.body
    kept, start, last = len(window), 0, 0
    while kept > limits.max_behaviours or len(body) - start > limits.max_bytes:
        last, start = start, block_end(body, start)
        kept -= 1
    if start:
        window.floor = _position(body[last:start])
        window.body = body[start:]
        if window.columns is not None:
            window.columns = window.columns.without_oldest(len(window) - kept)
        if window.told is not None:
            window.told = window.told[len(window) - kept :]
        window.count = kept
        window.pieces = window.pieces[-kept:] if kept else ()
    return window


def _count_before(window: Window, position: Position) -> int:
    """Return how many behaviours of the window happened before a position."""
    if window.newest is None or window.newest < position:  # the way of nearly all events
        return len(window)
    return sum(1 for block in split_body(window.body) if _position(block) < position)


def _pieces(window: Window, start: int, end: int) -> list[Piece]:
    blocks = [window.block(index) for index in range(max(0, start), end)]
    made: list[Piece] = window.words.pieces([decode_block(block) for block in blocks])
    return made


def _position(block: bytes) -> Position:
    _event_id, occurred_at, offset = block_head(block)
    return occurred_at, offset


def _habits(outcomes: bytes) -> Habits:
    known = outcomes.replace(b"\x00", b"")
    return Habits(len(known), known.count(POSITIVE), known[-RECENT:].count(POSITIVE))
