"""One batch's view of a partition's windows: each user's looked up once and put once, however many events there are."""

from collections.abc import Sequence
from typing import Protocol

from model.tokens import BehaviourTokenizer
from stream.behaviours import entry_with_outcome, reworded
from stream.labels.join import Closing
from stream.windows import Window, WindowLimits, find, stored, with_outcome


class WindowsTable(Protocol):
    """The windows, as the newest open unit sees them."""

    def get_in(self, partition: int, key: bytes) -> Window | None:
        """Return a user's window, or None."""
        ...


class BatchWindows:
    """changed: the windows that the batch has changed so far, by key; the caller puts them into the unit.

    tokenizer: of the model in use, in whose words the windows are.
    """

    def __init__(
        self, table: WindowsTable, tokenizer: BehaviourTokenizer, limits: WindowLimits, partition: int
    ) -> None:
        self._get_in = table.get_in
        self._tokenizer = tokenizer
        self._limits = limits
        self._partition = partition
        self._empty = Window(words=tokenizer)
        self.changed: dict[bytes, Window] = {}

    def get(self, key: bytes) -> Window:
        """Return a user's window, in the words of the model in use; an empty one if there is none."""
        window = self.changed.get(key) or self._get_in(self._partition, key) or self._empty
        return window if window.words is self._tokenizer else reworded(window, self._tokenizer)

    def put(self, key: bytes, window: Window) -> None:
        """Set a user's window."""
        self.changed[key] = window

    def learn(self, closings: Sequence[Closing]) -> None:
        """Make outcomes that are known now part of later texts, where their events are still in a window."""
        for closing in closings:
            key = closing.user_id.encode()
            window = self.get(key)
            index = find(window, closing.event_id)
            if index is None:
                continue
            behaviour = stored(window, index).behaviour
            if behaviour.y is None:
                known = entry_with_outcome(behaviour, closing.y, closing.z, self._tokenizer)
                self.changed[key] = with_outcome(window, index, known, self._limits)
