"""Conversion of decoded events to window entries, and of windows to the texts to score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.tokens import BehaviourTokenizer, EncodedText, Piece, history_text
from model.words import NO_OUTCOMES, ItemCounts
from schemas.errors import UnknownSchemaError
from schemas.records import BehaviorEvent
from schemas.state_records import Behaviour
from schemas.state_records import Window as WindowRecord
from schemas.window_state import encode_behaviour, join_window, read_body
from stream.scoring.state_format import newer_format
from stream.scoring.windows import Entry, History, Window

_MAX_ACTION_CHARS = 64


@dataclass(frozen=True, slots=True)
class BehaviourLimits:
    """Limits on an event's strings in the state; the model's text settings may truncate them further."""

    max_item_text_chars: int = 512


def behaviour_of(event: BehaviorEvent, offset: int, limits: BehaviourLimits) -> tuple[Behaviour, bool]:
    """Return the event as stored in the state, and whether its strings were truncated."""
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
    """Return the window entry of a behaviour with its Piece."""
    return Entry(
        (behaviour.occurred_at, behaviour.offset),
        behaviour.event_id,
        behaviour,
        encode_behaviour(behaviour),
        piece,
    )


def encode_text(
    history: History,
    target: Piece,
    tokenizer: BehaviourTokenizer,
    item: ItemCounts = NO_OUTCOMES,
) -> tuple[EncodedText, tuple[Piece, ...]]:
    """Build the text as of an event: the rates in words, the behaviours before the event, and the event itself.

    history: the behaviours of the user's window before the event. item: outcome counts of the event's item so far.
    Returns the text and the rates at its start.
    """
    rates = tokenizer.rates(history.habits, item)
    return tokenizer.encode(history, target, rates), rates


def history_in_words(text: EncodedText, history: History, rates: Sequence[Piece]) -> str:
    """Return the history part (segment A) of a text built by encode_text, as readable words."""
    return history_text(history.newest(text.behaviours), rates)


def with_tokenizer(window: Window, tokenizer: BehaviourTokenizer) -> Window:
    """Return the window with another tokenizer and without the values derived from the previous one."""
    return replace(window, pieces=(), columns=None, tokenizer=tokenizer)


class WindowCodec:
    """Encodes and decodes the values of the windows table. Texts are tokenized on access, not here.

    tokenizer: of the model in use; may be replaced at any time.
    """

    def __init__(self, tokenizer: BehaviourTokenizer) -> None:
        self.tokenizer = tokenizer

    def dumps(self, window: Window) -> bytes:
        """Encode a window. Its behaviours are already encoded."""
        return join_window((window.body,), window.floor)

    def loads(self, raw: bytes) -> Window:
        """Decode a window. An error here ends the process.

        Raises StateFormatError if a newer version wrote the value, or a DecodeError if the store is corrupt.
        """
        try:
            body, starts, floor = read_body(raw)
        except UnknownSchemaError as exc:
            raise newer_format(raw, (WindowRecord,)) or exc from None
        return Window.read(body, starts, floor, self.tokenizer)
