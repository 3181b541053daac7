"""A partition's windows during one batch: each user's window is read once and written once per batch."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.scoring.behaviours import with_tokenizer
from stream.scoring.labels.join import Closing
from stream.scoring.labels.sums import BatchSums
from stream.scoring.window_columns import Columns
from stream.scoring.windows import (
    Window,
    WindowLimits,
    behaviour_with_outcome,
    columns_of,
    find,
    make_columns,
    stored,
    with_outcome,
)
from stream.scoring.word_keys import WordKeys


class WindowsTable(Protocol):
    """The windows table as seen by the newest open unit."""

    def get_in(self, partition: int, key: bytes) -> Window | None:
        """Return a user's window, or None."""
        ...


class BatchWindows:
    """The windows read and changed by one batch.

    changed: the windows changed so far, by key; the caller puts them into the unit. keys: with the tokenizer of the
    model in use, which all returned windows use. sums: the running sums that learn labels.
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
        self._empty = Window(tokenizer=keys.tokenizer)
        self._prefetched: dict[bytes, Window] = {}
        self.changed: dict[bytes, Window] = {}

    def prefetch(self, keys: Iterable[bytes]) -> None:
        """Look up the windows of the users of the next records and compute their columns together."""
        self._prefetched = {}
        self._prefetched = {key: self.get(key) for key in dict.fromkeys(keys)}
        cold = {key: window for key, window in self._prefetched.items() if window.columns is None}
        make_columns(list(cold.values()), [self._sums.user(key).residuals for key in cold], self._keys)

    def get(self, key: bytes) -> Window:
        """Return a user's window with the tokenizer of the model in use; an empty window if the user has none."""
        window = self.changed.get(key) or self._prefetched.get(key)
        if window is not None:
            return window
        window = self._get_in(self._partition, key) or self._empty
        return window if window.tokenizer is self._tokenizer else with_tokenizer(window, self._tokenizer)

    def put(self, key: bytes, window: Window) -> None:
        """Set a user's window."""
        self.changed[key] = window

    def past(self, key: bytes, window: Window, count: int) -> NDArray[np.void]:
        """Return the oldest `count` behaviours of a user's window, records of PAST (count,)."""
        return self._columns(key, window).array(count)

    def _columns(self, key: bytes, window: Window) -> Columns:
        if window.columns is None:
            residuals = self._sums.user(key).residuals
            make_columns([window], [residuals], self._keys)
            return columns_of(window, residuals)
        return window.columns

    def learn(self, closings: Sequence[Closing]) -> None:
        """Apply labels that became known: to the sums, and to the windows that still contain their events."""
        for closing in closings:
            self._learn(closing, closing.user_id.encode())

    def _learn(self, closing: Closing, key: bytes) -> None:
        window, sums = self.get(key), self._sums
        index = find(window, closing.event_id)
        own_mean = 0.0
        # Skipped if the result is not used, because a window's columns are expensive to compute.
        if index is not None or closing.item_id:
            own_mean = self._columns(key, window).known_mean(sums.mean.value)
        past = sums.learn(key, closing, own_mean)
        if index is None:
            return
        behaviour = stored(window, index).behaviour
        if behaviour.y is not None:
            return
        known = behaviour_with_outcome(behaviour, closing.y, closing.z)
        changed = self.changed[key] = with_outcome(window, index, known, self._limits, past)
        sums.set_residuals(key, columns_of(changed, b"").residuals())
