"""Reads back the scores that this replay has published, to rebuild lost state without the model.

Only examples need them: an example contains the score that was published for its event.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from model.errors import ModelOutputError
from model.waiting import ScoredTexts
from schemas.records import InfluenceScore
from stream.replay.known_order import Stream
from stream.scoring.batch import Pending


class RecordedScores:
    """Returns published scores of events in place of the model; query it with increasing offsets."""

    def __init__(self, scores: Iterator[tuple[int, float, float]], model_version: str, dtype: str) -> None:
        """scores: (offset, y_hat, z_hat) by increasing offset."""
        self._scores = scores
        self._version, self._dtype = model_version, dtype
        self._next = next(scores, None)

    def of(self, pending: Sequence[Pending]) -> ScoredTexts:
        """Return the scores as the model returned them; a text without a score was a dead letter and fails again."""
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
