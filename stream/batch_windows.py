"""One batch's view of a partition's windows: each user's looked up once and put once, however many events there are."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.behaviours import entry_with_outcome, reworded
from stream.labels.join import Closing
from stream.labels.sums import BatchSums
from stream.window_columns import Columns
from stream.windows import Window, WindowLimits, columns_of, find, make_columns, stored, with_outcome
from stream.word_keys import WordKeys


class WindowsTable(Protocol):
    """The windows, as the newest open unit sees them."""

    def get_in(self, partition: int, key: bytes) -> Window | None:
        """Return a user's window, or None."""
        ...


class BatchWindows:
    """changed: the windows that the batch has changed so far, by key; the caller puts them into the unit.

    keys: of the tokenizer of the model in use, in whose words the windows are. sums: in which labels are learnt.
    """

    def __init__(
        self,
        table: WindowsTable,
        keys: WordKeys,
        limits: WindowLimits,
        partition: int,
        sums: BatchSums,
    ) -> None:
        self._get_in = table.get_in
        self._keys, self._tokenizer = keys, keys.tokenizer
        self._limits = limits
        self._partition = partition
        self._sums = sums
        self._empty = Window(words=keys.tokenizer)
        self._met: dict[bytes, Window] = {}
        self.changed: dict[bytes, Window] = {}

    def meet(self, keys: Iterable[bytes]) -> None:
        """Look up the windows of some users whose records come next, and make their columns at once."""
        self._met = {}
        self._met = {key: self.get(key) for key in dict.fromkeys(keys)}
        cold = {key: window for key, window in self._met.items() if window.columns is None}
        make_columns(list(cold.values()), [self._sums.user(key).residuals for key in cold], self._keys)

    def get(self, key: bytes) -> Window:
        """Return a user's window, in the words of the model in use; an empty one if there is none."""
        window = self.changed.get(key) or self._met.get(key)
        if window is not None:
            return window
        window = self._get_in(self._partition, key) or self._empty
        return window if window.words is self._tokenizer else reworded(window, self._tokenizer)

    def put(self, key: bytes, window: Window) -> None:
        """Set a user's window."""
        self.changed[key] = window

    def past(self, key: bytes, window: Window, count: int) -> NDArray[np.void]:
        """Return the oldest so many behaviours of a user's window, records of PAST (count,)."""
        return self._columns(key, window).array(count)

    def _columns(self, key: bytes, window: Window) -> Columns:
        if window.columns is None:
            residuals = self._sums.user(key).residuals
            make_columns([window], [residuals], self._keys)
            return columns_of(window, residuals)
        return window.columns

    def learn(self, closings: Sequence[Closing]) -> None:
        """Take labels that are known now into the sums, and into later texts where their events are in a window."""
        for closing in closings:
            self._learn(closing, closing.user_id.encode())

    def _learn(self, closing: Closing, key: bytes) -> None:
        window, sums = self.get(key), self._sums
        index = find(window, closing.event_id)
        own_mean = 0.0
        if (
            index is not None or closing.item_id
        ):  # else nothing asks for it, and a window's columns cost to make
            own_mean = self._columns(key, window).known_mean(sums.mean.value)
        past = sums.learn(key, closing, own_mean)
        if index is None:
            return
        behaviour = stored(window, index).behaviour
        if behaviour.y is not None:
            return
        known = entry_with_outcome(behaviour, closing.y, closing.z, self._tokenizer)
        changed = self.changed[key] = with_outcome(window, index, known, self._limits, past)
        sums.keep(key, columns_of(changed, b"").residuals())
