"""Scores that a replay has already published take the place of the model."""

from typing import Any, cast

import numpy as np

from model.errors import ModelOutputError
from schemas.records import InfluenceScore, Source
from schemas.wire import Codec
from stream.replay.plan import Span
from stream.replay.recorded import RecordedScores, scores_in
from stream.replay.streams import Record
from stream.scoring.batch import Pending
from tests.support.memory_streams import MemoryStream


def pending(*offsets: int) -> list[Pending]:
    """Return events that wait for their scores; only their offsets matter."""
    text = cast(Any, None)
    return [
        Pending("e", "u", "", 0, Record("t", 0, offset, 0, None, None), text, False, False, None)
        for offset in offsets
    ]


def test_each_event_gets_its_recorded_score_or_fails() -> None:
    recorded = RecordedScores(iter([(2, 0.25, 0.5), (3, 0.75, 1.0), (7, 0.0, 0.125)]), "v7", "bf16")
    # The score of offset 3 is skipped: no pending event has it.
    first = recorded.of(pending(0, 2, 4))
    assert first.y_hat.tolist()[1:2] == [0.25]
    assert first.z_hat.tolist()[1:2] == [0.5]
    assert np.isnan(first.y_hat[[0, 2]]).all()
    assert {index: type(error) for index, error in first.failed.items()} == dict.fromkeys(
        (0, 2), ModelOutputError
    )
    assert (first.model_version, first.dtype, first.y_hat.dtype.name) == ("v7", "bf16", "float32")
    # The next batch continues in the recorded scores.
    second = recorded.of(pending(7, 9))
    assert (second.y_hat[0], second.z_hat[0], list(second.failed)) == (0.0, 0.125, [1])


def test_without_published_scores_every_event_fails() -> None:
    assert list(RecordedScores(iter([]), "v7", "fp32").of(pending(5)).failed) == [0]
    assert RecordedScores(iter([]), "v7", "fp32").of([]).y_hat.shape == (0,)


def test_published_scores_are_read_with_their_offsets() -> None:
    codec: Codec[InfluenceScore] = Codec(InfluenceScore)

    def record(at: int, offset: int, y_hat: float) -> Record:
        source = Source("t", 0, offset)
        score = InfluenceScore(
            event_id="e",
            user_id="u",
            item_id="",
            y_hat=y_hat,
            z_hat=0.5,
            influence=0.5,
            model_version="v",
            dtype="fp32",
            behaviours=0,
            truncated=False,
            duplicate=False,
            source=source,
            outcomes_next=0,
            occurred_at=0,
            scored_at=0,
        )
        return Record("again", 0, at, 0, None, codec.encode(score))

    stream = MemoryStream([record(1, offset=40, y_hat=0.25), record(5, offset=44, y_hat=0.75)], Span(0, 9))
    assert list(scores_in(stream, codec.decode)) == [(40, 0.25, 0.5), (44, 0.75, 0.5)]
