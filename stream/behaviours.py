"""From a decoded event to an entry of its user's window, and from a window to the text that is scored. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from model.tokens import BehaviourTokenizer, EncodedText, Piece, history_text
from model.words import NO_OUTCOMES, ItemCounts
from schemas.errors import UnknownSchemaError
from schemas.records import BehaviorEvent, Behaviour
from schemas.records import Window as WindowRecord
from schemas.window_state import encode_behaviour, join_window, read_body
from stream.state_format import newer_format
from stream.windows import Entry, History, Window, outcome_known

_MAX_ACTION_CHARS = 64


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


def entry_with_outcome(
    behaviour: Behaviour, y: float, z: float | None, tokenizer: BehaviourTokenizer
) -> Entry:
    """Return a behaviour's entry as later texts will tell it: with what came of it."""
    behaviour = outcome_known(behaviour, y, z)
    return entry_of(behaviour, tokenizer.piece(behaviour))


def encode_text(
    history: History,
    target: Piece,
    tokenizer: BehaviourTokenizer,
    item: ItemCounts = NO_OUTCOMES,
) -> tuple[EncodedText, tuple[Piece, ...]]:
    """Build the text as of an event: rates in words, what happened before it, and the event itself.

    history: the oldest behaviours of the user's window, those before the event. item: the outcomes of the event's item
    so far. Returns the text, and the rates that it begins with.
    """
    rates = tokenizer.rates(history.habits, item)
    return tokenizer.encode(history, target, rates), rates


def history_in_words(text: EncodedText, history: History, rates: Sequence[Piece]) -> str:
    """Return segment A of a text that encode_text built, readable, word for word."""
    return history_text(history.newest(text.behaviours), rates)


def reworded(window: Window, tokenizer: BehaviourTokenizer) -> Window:
    """Return the window as another model reads it."""
    return replace(window, pieces=(), columns=None, words=tokenizer)


class WindowCodec:
    """Windows to and from the bytes of the windows table; words are tokenised when a text asks for them.

    tokenizer: of the model in use; may be replaced at any time.
    """

    def __init__(self, tokenizer: BehaviourTokenizer) -> None:
        self.tokenizer = tokenizer

    def dumps(self, window: Window) -> bytes:
        """Encode; no behaviour is encoded twice in its life."""
        return join_window((window.body,), window.floor)

    def loads(self, raw: bytes) -> Window:
        """Decode. The process ends if that fails.

        Raises StateFormatError if a newer version wrote it, a DecodeError if it is no window: the store is broken.
        """
        try:
            body, starts, floor = read_body(raw)
        except UnknownSchemaError as exc:
            raise newer_format(raw, (WindowRecord,)) or exc from None
        return Window.read(body, starts, floor, self.tokenizer)
