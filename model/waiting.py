"""Texts that wait to be scored: groups in the order they came, one queue a model. No threads, no clock."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.jobs import Job
from model.packing import PackingSettings, choose_batch

if TYPE_CHECKING:
    from model.forward import ScoringModel


@dataclass(frozen=True, slots=True)
class ScoredTexts:
    """The scores of one submitted group, in the order submitted.

    y_hat, z_hat: float32 (N,), NaN where a text failed. failed: why, by position.
    model_version, dtype: what scored them.
    """

    y_hat: NDArray[np.float32]
    z_hat: NDArray[np.float32]
    failed: dict[int, Exception]
    model_version: str
    dtype: str


@dataclass(slots=True, eq=False)
class Group:
    """Texts that were submitted together, and the future of all of them."""

    texts: Sequence[Job]
    model: "ScoringModel"
    submitted_s: float
    number: int
    future: "Future[ScoredTexts]"
    outputs: NDArray[np.float32] = field(init=False)  # (N, 2)
    failed: dict[int, Exception] = field(default_factory=dict)
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.texts)
        self.outputs = np.full((self.left, 2), np.nan, np.float32)

    def finish(self) -> None:
        """Give the waiter its scores, unless it has gone."""
        scored = ScoredTexts(
            self.outputs[:, 0], self.outputs[:, 1], self.failed, self.model.version, self.model.dtype
        )
        try:
            self.future.set_result(scored)
        except InvalidStateError:
            return  # cancelled, or already given an error

    def fail(self, error: Exception) -> None:
        """Give the waiter an error, unless it has gone or has its scores."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            return


Entry = tuple[Group, int]
"""One waiting text: its group, and its position there."""


class WaitingTexts:
    """The texts not yet packed. Not safe between threads: the micro-batcher holds its lock.

    Texts of a cancelled group are passed over, and forgotten, when they are reached.
    """

    def __init__(self) -> None:
        self._queues: dict[int, deque[Entry]] = {}  # by the model's identity
        self.rows = 0
        self.tokens = 0

    def add(self, group: Group) -> None:
        """Append a group's texts behind all others of its model."""
        queue = self._queues.setdefault(id(group.model), deque())
        queue.extend((group, position) for position in range(len(group.texts)))
        self.rows += len(group.texts)
        self.tokens += sum(text.tokens for text in group.texts)

    def oldest(self) -> Group | None:
        """Return the group that has waited longest and was not cancelled; None if nothing waits."""
        heads = [queue[0][0] for queue in self._queues.values() if self._skip_cancelled(queue)]
        return min(heads, key=lambda group: group.number, default=None)

    def take(self, settings: PackingSettings) -> list[Entry]:
        """Take out the next batch, of one model, with the oldest text in it; empty if nothing waits."""
        oldest = self.oldest()
        if oldest is None:
            return []
        queue = self._queues[id(oldest.model)]
        ahead: list[Entry] = []
        while queue and len(ahead) < settings.look_ahead:
            entry = queue.popleft()
            if entry[0].future.done():
                self._forget(entry)
            else:
                ahead.append(entry)
        chosen = choose_batch([group.texts[position].tokens for group, position in ahead], settings)
        taken = [ahead[index] for index in chosen]
        picked = set(chosen)
        queue.extendleft(entry for index, entry in reversed(list(enumerate(ahead))) if index not in picked)
        for entry in taken:
            self._forget(entry)
        if not queue:
            del self._queues[id(oldest.model)]
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]

    def _skip_cancelled(self, queue: deque[Entry]) -> bool:
        """Drop cancelled texts from the head; say whether anything is left."""
        while queue and queue[0][0].future.done():
            self._forget(queue.popleft())
        return bool(queue)

    def _forget(self, entry: Entry) -> None:
        group, position = entry
        self.rows -= 1
        self.tokens -= group.texts[position].tokens
