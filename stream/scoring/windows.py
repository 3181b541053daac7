"""The sliding window of one user: the latest behaviours by event time, independent of arrival order.

A window is an immutable value: `insert` and `with_outcome` return a new one, so that state layers can share it. It
keeps the behaviours encoded, as in the state: a few KB, a tenth of their decoded size. Values that each event needs
are cached beside them: the outcomes, the position of the newest behaviour, the Pieces of the newest behaviours,
which nearly all texts of the joint reading use, and the columns of a snapshot.

The same behaviours give the same window in any arrival order: the longest run of newest behaviours that fits the
limits. `floor` is the position of the newest evicted behaviour. Older behaviours are rejected, even if they would fit.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from typing import Any, NamedTuple, Protocol, Self, cast

from model.features.history import Past
from model.tokens import Piece
from model.words import RECENT, Habits
from schemas.state_records import Behaviour
from schemas.window_rows import FastPathError
from schemas.window_state import (
    block_end,
    block_head,
    block_outcome,
    block_starts,
    decode_block,
    encode_behaviour,
    split_body,
)
from stream.scoring.window_columns import POSITIVE, Columns, Encoded, outcome_code
from stream.scoring.word_keys import WordKeys

Position = tuple[int, int]
"""(event time in epoch ms, source offset): the sort key of a window."""

CACHED_PIECES = 12
"""Number of newest behaviours whose Pieces are cached; those of older ones are recomputed on access."""


class Tokenizer(Protocol):
    """Converts behaviours to Pieces. Implemented by model.tokens.BehaviourTokenizer."""

    def pieces(self, behaviours: Sequence[Behaviour]) -> list[Piece]:
        """Return the Pieces of behaviours including outcomes, in the same order."""
        ...

    def targets(self, behaviours: Sequence[Behaviour]) -> list[Piece]:
        """Return the Pieces of behaviours without outcomes, in the same order."""
        ...


class Entry(NamedTuple):
    """A behaviour to insert into a window, with its encoding and its Piece."""

    position: Position
    event_id: str
    behaviour: Behaviour
    block: bytes  # its encoding in the state
    piece: Piece  # words and token ids, including the outcome


class Stored(NamedTuple):
    """A decoded behaviour of a window."""

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
    """Behaviours, oldest first, and the floor at or below which none is accepted; treat it as immutable.

    body: the concatenated blocks of the behaviours. The other fields are derived from it. count: number of behaviours.
    newest: position of the last one. tokenizer: computes the Pieces. Computed on first access: pieces, the Pieces of
    the newest behaviours, None for one whose outcome has become known since; columns, see columns_of(); outcome_codes,
    one byte per behaviour, see outcome_code(); starts, the start of each block in the body.
    """

    body: bytes = b""
    floor: Position | None = None
    count: int = field(default=0, compare=False)
    newest: Position | None = field(default=None, compare=False)
    pieces: tuple[Piece | None, ...] = field(default=(), compare=False)
    tokenizer: Any = field(default=None, compare=False)
    columns: Columns | None = field(default=None, compare=False)
    outcome_codes: bytes | None = field(default=None, compare=False)
    starts: list[int] | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls, blocks: Sequence[bytes], floor: Position | None = None, tokenizer: Tokenizer | None = None
    ) -> Self:
        """Return a window of these blocks, oldest first. Raises DecodeError."""
        starts = list(accumulate([len(block) for block in blocks[:-1]], initial=0)) if blocks else []
        return cls.read(b"".join(blocks), starts, floor, tokenizer)

    @classmethod
    def read(
        cls, body: bytes, starts: list[int], floor: Position | None = None, tokenizer: Tokenizer | None = None
    ) -> Self:
        """Return a window of a body with blocks at these starts. Raises DecodeError."""
        newest = _position(body[starts[-1] :]) if starts else None
        return cls(body, floor, len(starts), newest, (), tokenizer, starts=starts)

    @property
    def outcomes(self) -> bytes:
        """The outcome code of each behaviour, one byte each."""
        if self.outcome_codes is None:
            self.outcome_codes = bytes(
                [outcome_code(block_outcome(block)) for block in split_body(self.body)]
            )
        return self.outcome_codes

    @property
    def block_starts(self) -> list[int]:
        """The start of each block in the body."""
        if self.starts is None:
            self.starts = block_starts(self.body)
        return self.starts

    def block(self, index: int) -> bytes:
        """Return the encoding of a behaviour. index: 0 is the oldest."""
        return self.body[slice(*self.span(index))]

    def span(self, index: int) -> tuple[int, int]:
        """Return the start and end of a behaviour's block in the body."""
        starts = self.block_starts
        return starts[index], starts[index + 1] if index + 1 < len(starts) else len(self.body)

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return True  # an empty window is not a missing one

    @property
    def size_bytes(self) -> int:
        """The size of its blocks in bytes."""
        return len(self.body)

    @property
    def entries(self) -> tuple[Stored, ...]:
        """The behaviours, oldest first; decoded on each access."""
        return tuple(Stored.of(block) for block in split_body(self.body))

    @property
    def habits(self) -> Habits:
        """Outcome counts of the behaviours."""
        return _habits(self.outcomes)


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """Limits of a window. The caller truncates texts so that a single block has at most max_bytes."""

    max_behaviours: int = 50
    max_bytes: int = 4096


EMPTY = Window()


class History(Sequence[Piece]):
    """The Pieces of a window's oldest behaviours, oldest first; computed only as far back as they are read."""

    __slots__ = ("_count", "_window")

    def __init__(self, window: Window, count: int) -> None:
        """count: number of behaviours, from the oldest."""
        self._window = window
        self._count = count

    @property
    def habits(self) -> Habits:
        """Outcome counts of these behaviours."""
        return _habits(self._window.outcomes[: self._count])

    def newest(self, count: int) -> list[Piece]:
        """Return the Pieces of the newest `count` of these behaviours, oldest first."""
        return list(islice(reversed(self), count))[::-1]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return self.newest(self._count)[index]

    def __reversed__(self) -> Iterator[Piece]:
        window, later = self._window, len(self._window) - self._count
        cached = _newest_pieces(window)
        yield from reversed(cached[: len(cached) - later] if later < len(cached) else ())
        end = min(self._count, len(window) - len(cached))
        while end > 0:
            start = max(0, end - CACHED_PIECES)
            yield from reversed(_pieces(window, range(start, end)))
            end = start


def find(window: Window, event_id: str) -> int | None:
    """Return the index of an event in the window, or None."""
    encoded_id = event_id.encode()
    at = window.body.find(encoded_id)  # a scan in C, since nearly every event is new
    while at >= 0:
        index = bisect_right(window.block_starts, at) - 1
        # event_id is the first string of a block, but another string may contain the same bytes.
        if block_head(window.block(index))[0] == event_id:
            return index
        at = window.body.find(encoded_id, at + 1)
    return None


def stored(window: Window, index: int) -> Stored:
    """Return the decoded behaviour at an index."""
    return Stored.of(window.block(index))


def history(window: Window, position: Position) -> History:
    """Return the behaviours before a position: the history of the event at that position."""
    return History(window, _count_before(window, position))


def columns_of(window: Window, residuals: bytes) -> Columns:
    """Return the columns of a window; compute and cache them if missing.

    residuals: of its behaviours, as returned by Columns.residuals().
    """
    if window.columns is None:
        behaviours = behaviours_before(window.body, len(window))
        texts = [piece.text for piece in window.tokenizer.targets(behaviours)] if behaviours else []
        window.columns = Columns.of(behaviours, texts, residuals)
    return window.columns


def make_columns(windows: Sequence[Window], residuals: Sequence[bytes], keys: WordKeys) -> None:
    """Compute and cache the columns of windows; the same result as columns_of(), at a fraction of its cost.

    residuals: one value per window. keys: caches the keys of the windows' tokenizer.
    """
    wanted = [
        (window, Encoded(window.body, window.block_starts, of_window))
        for window, of_window in zip(windows, residuals, strict=True)
        if window.columns is None and len(window)
    ]
    if not wanted:
        return
    with suppress(FastPathError):  # columns_of() computes them on access instead
        made = Columns.of_many([encoded for _, encoded in wanted], keys)
        for (window, _), (columns, outcome_codes) in zip(wanted, made, strict=True):
            window.columns, window.outcome_codes = columns, outcome_codes


def behaviours_before(body: bytes, count: int) -> list[Behaviour]:
    """Return the oldest `count` behaviours of a window's body, decoded."""
    return [decode_block(block) for block in split_body(body)[:count]]


def insert(window: Window, entry: Entry, limits: WindowLimits) -> Window:
    """Return the window with a behaviour inserted by position and trimmed to the limits.

    A duplicate event or a position at or below the floor returns the window unchanged.
    """
    return window if find(window, entry.event_id) is not None else insert_new(window, entry, limits)


def insert_new(window: Window, entry: Entry, limits: WindowLimits) -> Window:
    """Insert an event that is known not to be in the window; otherwise like insert()."""
    if window.floor is not None and entry.position <= window.floor:
        return window
    outcome = bytes((outcome_code(entry.behaviour.y),))
    columns, outcome_codes = window.columns if entry.behaviour.y is None else None, window.outcome_codes
    if window.newest is None or window.newest < entry.position:
        # Without all cached Pieces, appending one would leave a gap.
        complete = len(window.pieces) == min(CACHED_PIECES, len(window))
        pieces, newest = (*window.pieces, entry.piece)[-CACHED_PIECES:] if complete else (), entry.position
        count, at = len(window), len(window.body)
    else:
        pieces, newest = (), window.newest
        count = _count_before(window, entry.position)
        at = window.span(count)[0]
    if columns is not None:
        columns = columns.with_behaviour(count, entry.behaviour, entry.piece.text)
    if outcome_codes is not None:
        outcome_codes = outcome_codes[:count] + outcome + outcome_codes[count:]
    body = window.body[:at] + entry.block + window.body[at:]
    return _cut(
        Window(body, window.floor, len(window) + 1, newest, pieces, window.tokenizer, columns, outcome_codes),
        limits,
    )


def with_outcome(
    window: Window, index: int, behaviour: Behaviour, limits: WindowLimits, past: Past | None = None
) -> Window:
    """Return the window with the behaviour at index replaced by the same behaviour with its outcome.

    past: the behaviour's row for the columns; without it the columns are recomputed on access. So is its Piece, which
    only the joint reading needs.
    """
    start, end = window.span(index)
    body = window.body[:start] + encode_behaviour(behaviour) + window.body[end:]
    columns, outcome_codes, pieces = None, window.outcome_codes, window.pieces
    if outcome_codes is not None:
        outcome_codes = (
            outcome_codes[:index] + bytes((outcome_code(behaviour.y),)) + outcome_codes[index + 1 :]
        )
    at = index - len(window) + len(pieces)
    if at >= 0:
        pieces = (*pieces[:at], None, *pieces[at + 1 :])
    if window.columns is not None and past is not None:
        columns = window.columns.with_outcome(index, past.y, past.z, past.residual)
    changed = Window(
        body, window.floor, len(window), window.newest, pieces, window.tokenizer, columns, outcome_codes
    )
    return _cut(changed, limits)


def behaviour_with_outcome(behaviour: Behaviour, y: float, z: float | None) -> Behaviour:
    """Return the behaviour with its outcome."""
    return replace(behaviour, y=y, z=z)


def _cut(window: Window, limits: WindowLimits) -> Window:
    """Remove the oldest behaviours beyond the limits. Modifies the window, which must not be shared yet."""
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
        if window.outcome_codes is not None:
            window.outcome_codes = window.outcome_codes[len(window) - kept :]
        window.count = kept
        window.pieces = window.pieces[-kept:] if kept else ()
    return window


def _count_before(window: Window, position: Position) -> int:
    """Return the number of behaviours before a position."""
    if window.newest is None or window.newest < position:  # the common case
        return len(window)
    return sum(1 for block in split_body(window.body) if _position(block) < position)


def _newest_pieces(window: Window) -> Sequence[Piece]:
    """Return the Pieces of up to CACHED_PIECES newest behaviours, oldest first; compute and cache the missing ones."""
    count, cached = min(CACHED_PIECES, len(window)), window.pieces
    first = len(window) - count
    if len(cached) < count:
        window.pieces = tuple(_pieces(window, range(first, len(window))))
    elif None in cached:
        missing = [index for index, piece in enumerate(cached) if piece is None]
        computed = iter(_pieces(window, [first + index for index in missing]))
        window.pieces = tuple(next(computed) if piece is None else piece for piece in cached)
    return cast("Sequence[Piece]", window.pieces)


def _pieces(window: Window, indexes: Sequence[int]) -> list[Piece]:
    pieces: list[Piece] = window.tokenizer.pieces([decode_block(window.block(index)) for index in indexes])
    return pieces


def _position(block: bytes) -> Position:
    _event_id, occurred_at, offset = block_head(block)
    return occurred_at, offset


def _habits(outcomes: bytes) -> Habits:
    known = outcomes.replace(b"\x00", b"")
    return Habits(len(known), known.count(POSITIVE), known[-RECENT:].count(POSITIVE))
