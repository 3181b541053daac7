"""What a replay has published answers in place of the model."""

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
    """Events whose texts wait; only where they come from matters."""
    text = cast(Any, None)
    return [
        Pending("e", "u", "", 0, Record("t", 0, offset, 0, None, None), text, False, False, None)
        for offset in offsets
    ]


def test_each_event_gets_its_own_score_and_one_without_fails_as_it_did() -> None:
    recorded = RecordedScores(iter([(2, 0.25, 0.5), (3, 0.75, 1.0), (7, 0.0, 0.125)]), "v7", "bf16")
    first = recorded.of(pending(0, 2, 4))  # 3 was read by nobody: it is passed over
    assert first.y_hat.tolist()[1:2] == [0.25]
    assert first.z_hat.tolist()[1:2] == [0.5]
    assert np.isnan(first.y_hat[[0, 2]]).all()
    assert {index: type(error) for index, error in first.failed.items()} == dict.fromkeys(
        (0, 2), ModelOutputError
    )
    assert (first.model_version, first.dtype, first.y_hat.dtype.name) == ("v7", "bf16", "float32")
    second = recorded.of(pending(7, 9))  # it goes on from one batch to the next
    assert (second.y_hat[0], second.z_hat[0], list(second.failed)) == (0.0, 0.125, [1])


def test_nothing_published_is_nothing_known() -> None:
    assert list(RecordedScores(iter([]), "v7", "fp32").of(pending(5)).failed) == [0]
    assert RecordedScores(iter([]), "v7", "fp32").of([]).y_hat.shape == (0,)


def test_a_topic_of_ones_own_scores_tells_offsets_and_heads() -> None:
    codec: Codec[InfluenceScore] = Codec(InfluenceScore)

    def record(at: int, offset: int, y_hat: float) -> Record:
        source = Source("t", 0, offset)
        made = InfluenceScore("e", "u", "", y_hat, 0.5, 0.5, "v", "fp32", 0, False, False, source, 0, 0, 0)
        return Record("again", 0, at, 0, None, codec.encode(made))

    stream = MemoryStream([record(1, 40, 0.25), record(5, 44, 0.75)], Span(0, 9))
    assert list(scores_in(stream, codec.decode)) == [(40, 0.25, 0.5), (44, 0.75, 0.5)]
