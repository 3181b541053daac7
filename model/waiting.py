"""Queues of texts waiting to be scored, one per model, in order of submission. Uses no threads and no clock."""

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
    """The scores of one submitted group, in order of submission.

    y_hat, z_hat: float32 (N,), NaN for failed texts. failed: errors by position.
    model_version, dtype: those of the model that scored the texts.
    """

    y_hat: NDArray[np.float32]
    z_hat: NDArray[np.float32]
    failed: dict[int, Exception]
    model_version: str
    dtype: str


@dataclass(slots=True, eq=False)
class Group:
    """Texts that were submitted together, and their common future."""

    texts: Sequence[Job]
    model: "ScoringModel"
    submitted_s: float
    number: int
    future: "Future[ScoredTexts]"
    outputs: NDArray[np.float32] = field(init=False)  # (N, 2)
    failed: dict[int, Exception] = field(default_factory=dict)
    remaining: int = field(init=False)

    def __post_init__(self) -> None:
        self.remaining = len(self.texts)
        self.outputs = np.full((self.remaining, 2), np.nan, np.float32)

    def finish(self) -> None:
        """Set the future's result, unless the future is done."""
        scored = ScoredTexts(
            self.outputs[:, 0], self.outputs[:, 1], self.failed, self.model.version, self.model.dtype
        )
        try:
            self.future.set_result(scored)
        except InvalidStateError:
            return  # cancelled or failed

    def fail(self, error: Exception) -> None:
        """Set the future's exception, unless the future is done."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            return


Entry = tuple[Group, int]
"""A waiting text: its group and its position in the group."""


class WaitingTexts:
    """The texts not yet packed. Not thread-safe: the micro-batcher holds its lock.

    Texts of a cancelled group are removed when they reach the head of the queue or are considered for a batch.
    """

    def __init__(self) -> None:
        # By the identity of the model.
        self._queues: dict[int, deque[Entry]] = {}
        self.rows = 0
        self.tokens = 0

    def add(self, group: Group) -> None:
        """Append a group's texts to the queue of its model."""
        queue = self._queues.setdefault(id(group.model), deque())
        queue.extend((group, position) for position in range(len(group.texts)))
        self.rows += len(group.texts)
        self.tokens += sum(text.tokens for text in group.texts)

    def oldest(self) -> Group | None:
        """Return the oldest group that was not cancelled, or None."""
        heads = [queue[0][0] for queue in self._queues.values() if self._skip_cancelled(queue)]
        return min(heads, key=lambda group: group.number, default=None)

    def take(self, settings: PackingSettings) -> list[Entry]:
        """Remove and return the next batch: texts of one model that include the oldest text; empty if none wait."""
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
        """Remove all texts."""
        self.__init__()  # type: ignore[misc]

    def _skip_cancelled(self, queue: deque[Entry]) -> bool:
        """Remove cancelled texts from the head; return whether the queue has texts left."""
        while queue and queue[0][0].future.done():
            self._forget(queue.popleft())
        return bool(queue)

    def _forget(self, entry: Entry) -> None:
        group, position = entry
        self.rows -= 1
        self.tokens -= group.texts[position].tokens
