"""What this replay has already published, read back: so that state which was lost can be made again without the model.

Only examples need it: an example tells what was published for its event, whatever became of the process since.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from model.errors import ModelOutputError
from model.waiting import ScoredTexts
from schemas.records import InfluenceScore
from stream.processor import Pending
from stream.replay.known_order import Stream


class RecordedScores:
    """Answers for the texts of events that have their score, in place of the model; ask for rising offsets."""

    def __init__(self, scores: Iterator[tuple[int, float, float]], model_version: str, dtype: str) -> None:
        """scores: (offset, y_hat, z_hat) by rising offsets."""
        self._scores = scores
        self._version, self._dtype = model_version, dtype
        self._next = next(scores, None)

    def of(self, pending: Sequence[Pending]) -> ScoredTexts:
        """Return the scores as the model gave them; a text without one was a dead letter, and fails again."""
        outputs = np.full((len(pending), 2), np.nan, np.float32)
        failed: dict[int, Exception] = {}
        for index, one in enumerate(pending):
            found = self._at(one.record.offset)
            if found is None:
                failed[index] = ModelOutputError("the text was a dead letter when it was scored")
            else:
                outputs[index] = found
        return ScoredTexts(outputs[:, 0], outputs[:, 1], failed, self._version, self._dtype)

    def _at(self, offset: int) -> tuple[float, float] | None:
        while self._next is not None and self._next[0] < offset:
            self._next = next(self._scores, None)
        if self._next is None or self._next[0] != offset:
            return None
        return self._next[1], self._next[2]


def scores_in(
    stream: Stream, decode: Callable[[bytes | None], InfluenceScore]
) -> Iterator[tuple[int, float, float]]:
    """Yield (offset, y_hat, z_hat) of a partition of the replay's own topic.

    Raises DecodeError, RegistryUnavailable, and what the stream raises.
    """
    while (record := stream.head()) is not None:
        stream.take()
        score = decode(record.value)
        yield score.source.offset, score.y_hat, score.z_hat
