"""From a decoded event to an entry of its user's window, and from a window to the text that is scored. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from model.tokens import BehaviourTokenizer, EncodedText, Piece, history_text
from model.words import NO_OUTCOMES, ItemCounts
from schemas.errors import UnknownSchemaError
from schemas.records import BehaviorEvent, Behaviour
from schemas.records import Window as WindowRecord
from schemas.window_state import decode_block, encode_behaviour, join_window, read_window
from stream.state_format import newer_format
from stream.windows import Entry, Window, outcome_known, outcomes_of

_MAX_ACTION_CHARS = 64
_PIECE = attrgetter("piece")


@dataclass(frozen=True, slots=True)
class BehaviourLimits:
    """What of an event's words enters the state; the model's own text settings may cut further."""

    max_item_text_chars: int = 512


def behaviour_of(event: BehaviorEvent, offset: int, limits: BehaviourLimits) -> tuple[Behaviour, bool]:
    """Return the event as the state keeps it, and whether its words were cut."""
    text = event.item_text
    cut = len(text) > limits.max_item_text_chars or len(event.action) > _MAX_ACTION_CHARS
    if cut:
        text = text[: limits.max_item_text_chars]
    return (
        Behaviour(
            event.event_id,
            offset,
            event.occurred_at,
            event.action[:_MAX_ACTION_CHARS] if cut else event.action,
            event.item_id,
            text,
            event.value,
        ),
        cut,
    )


def entry_of(behaviour: Behaviour, piece: Piece) -> Entry:
    """Return the window entry of a behaviour whose words are known."""
    return Entry(
        (behaviour.occurred_at, behaviour.offset),
        behaviour.event_id,
        behaviour,
        encode_behaviour(behaviour),
        piece,
    )


def entry_with_outcome(entry: Entry, y: float, z: float | None, tokenizer: BehaviourTokenizer) -> Entry:
    """Return the entry as later texts will tell it: with what came of it."""
    behaviour = outcome_known(entry.behaviour, y, z)
    return entry_of(behaviour, tokenizer.piece(behaviour))


class _Words(Sequence[Piece]):
    """The Pieces of a history, taken only as far back as a text reaches."""

    __slots__ = ("_history",)

    def __init__(self, history: Sequence[Entry]) -> None:
        self._history = history

    def __len__(self) -> int:
        return len(self._history)

    def __getitem__(self, index: Any) -> Any:
        return self._history[index].piece

    def __reversed__(self) -> Iterator[Piece]:
        return map(_PIECE, reversed(self._history))


def encode_text(
    window: Window,
    history: Sequence[Entry],
    target: Piece,
    tokenizer: BehaviourTokenizer,
    item: ItemCounts = NO_OUTCOMES,
) -> tuple[EncodedText, tuple[Piece, ...]]:
    """Build the text as of an event: rates in words, what happened before it, and the event itself.

    history: the oldest entries of the window, those before the event. item: the outcomes of the event's item so far.
    Returns the text, and the rates that it begins with.
    """
    habits = window.habits if history is window.entries else outcomes_of(history)
    rates = tokenizer.rates(habits, item)
    return tokenizer.encode(_Words(history), target, rates), rates


def history_in_words(text: EncodedText, history: Sequence[Entry], rates: Sequence[Piece]) -> str:
    """Return segment A of a text that encode_text built, readable, word for word."""
    return history_text([entry.piece for entry in history[len(history) - text.behaviours :]], rates)


def reworded(window: Window, tokenizer: BehaviourTokenizer) -> Window:
    """Return the window as another model reads it."""
    pieces = tokenizer.pieces([entry.behaviour for entry in window.entries])
    entries = tuple(entry._replace(piece=piece) for entry, piece in zip(window.entries, pieces, strict=True))
    return Window.of(entries, window.floor, tokenizer)


class WindowCodec:
    """Windows to and from the bytes of the windows table; words are tokenised when a window is read.

    tokenizer: of the model in use; may be replaced at any time.
    """

    def __init__(self, tokenizer: BehaviourTokenizer) -> None:
        self.tokenizer = tokenizer

    def dumps(self, window: Window) -> bytes:
        """Encode; no behaviour is encoded twice in its life."""
        return join_window([entry.block for entry in window.entries], window.floor)

    def loads(self, raw: bytes) -> Window:
        """Decode. The process ends if that fails.

        Raises StateFormatError if a newer version wrote it, a DecodeError if it is no window: the store is broken.
        """
        try:
            blocks, floor = read_window(raw)
        except UnknownSchemaError as exc:
            raise newer_format(raw, (WindowRecord,)) or exc from None
        behaviours = [decode_block(block) for block in blocks]
        tokenizer = self.tokenizer
        pieces = tokenizer.pieces(behaviours)
        entries = tuple(
            Entry((b.occurred_at, b.offset), b.event_id, b, block, piece)
            for b, block, piece in zip(behaviours, blocks, pieces, strict=True)
        )
        return Window.of(entries, floor, tokenizer)
