"""The model input of each event of a batch, and the part of it that the event's example will contain."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

from model.features.keys import item_key, text_key
from model.features.snapshot import Snapshot
from model.jobs import LateText
from model.reading import Reading
from model.tokens import BehaviourTokenizer, EncodedText, Piece
from stream.scoring.batch_windows import BatchWindows
from stream.scoring.behaviours import encode_text, history_in_words
from stream.scoring.labels.labelling import Labelling, NoLabelling
from stream.scoring.windows import Entry, History, Window, behaviours_before, history, stored


class ReadingModel(Protocol):
    """The parts of a model that the processor needs: its reading, tokenizer, version and mixing weight lam."""

    version: str
    tokenizer: BehaviourTokenizer
    lam: float

    @property
    def reading(self) -> Reading:
        """How the model reads a user's history: jointly with the event, or late."""
        ...


class EventInput(NamedTuple):
    """The model input of an event.

    history, target: the words for its example, empty if examples are off; history is also empty for a late model.
    snapshot: the features' inputs at scoring time, for the example.
    """

    text: EncodedText | LateText
    snapshot: Snapshot | None = None
    history: str = ""
    target: str = ""


class BatchTexts:
    """Builds the model inputs of one batch's events.

    windows, labelling: of the batch; each event uses their current state. snapshots: whether events get snapshots.
    """

    def __init__(
        self, model: ReadingModel, windows: BatchWindows, labelling: Labelling | NoLabelling
    ) -> None:
        self._tokenizer = model.tokenizer
        self._late = model.reading is Reading.LATE
        self._windows = windows
        self._sums = labelling.sums
        self._labelling = labelling
        self._examples = labelling.examples
        self.snapshots = self._late or self._examples

    def of_new(self, user_id: bytes, window: Window, entry: Entry) -> EventInput:
        """Build the input of an event that is not in its user's window yet. user_id: in UTF-8."""
        past, item_id, target = history(window, entry.position), entry.behaviour.item_id, entry.piece
        snapshot = None
        if self.snapshots:
            snapshot = self._snapshot(user_id, window, len(past), entry.position[0], item_id, target)
        if self._late and snapshot is not None:
            words = target.text if self._examples else ""
            return EventInput(self._late_text(window, snapshot, target), snapshot, "", words)
        text, rates = self._joint_text(past, target, item_id)
        if not self._examples:
            return EventInput(text)
        return EventInput(text, snapshot, history_in_words(text, past, rates), target.text)

    def of_duplicate(self, user_id: bytes, window: Window, index: int) -> EventInput:
        """Build the input of a duplicate event: with the history of its first delivery and the current sums."""
        behaviour = stored(window, index).behaviour
        target = self._tokenizer.target(behaviour)
        if self._late:
            at_ms, item_id = behaviour.occurred_at, behaviour.item_id
            snapshot = self._snapshot(user_id, window, index, at_ms, item_id, target)
            return EventInput(self._late_text(window, snapshot, target))
        return EventInput(self._joint_text(History(window, index), target, behaviour.item_id)[0])

    def _joint_text(
        self, past: History, target: Piece, item_id: str
    ) -> tuple[EncodedText, tuple[Piece, ...]]:
        return encode_text(past, target, self._tokenizer, self._labelling.item(item_id))

    def _late_text(self, window: Window, snapshot: Snapshot, target: Piece) -> LateText:
        pieces = partial(_pieces, self._tokenizer, window.body, len(snapshot.past))
        return LateText(snapshot, target, pieces, target.cut)

    def _snapshot(
        self, user_id: bytes, window: Window, count: int, at_ms: int, item_id: str, target: Piece
    ) -> Snapshot:
        sums = self._sums
        return Snapshot(
            at_ms,
            item_key(item_id),
            text_key(target.text),
            sums.item(item_id),
            sums.mean.value,
            sums.user(user_id).totals,
            self._windows.past(user_id, window, count),
        )


def _pieces(tokenizer: BehaviourTokenizer, body: bytes, count: int) -> Sequence[Piece]:
    """Return the Pieces, without outcomes, of the oldest `count` behaviours of a window's body."""
    return tokenizer.targets(behaviours_before(body, count))
