"""A replay into a topic alone, whose state is lost: its examples tell what that topic tells, whatever was since."""

import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.tokens import EncodedText
from model.waiting import ScoredTexts
from schemas.records import BehaviorEvent, LabeledExample
from schemas.wire import Codec
from tests.integration.replaying import Replay, places_of
from tests.integration.workers import Sway

EVENTS, BATCH = 60, 10
START_MS = 1_750_000_000_000


class Says:
    """A scorer that gives every text the same score, and is gone after so many calls."""

    def __init__(self, score: float, calls: int) -> None:
        self._score, self._calls_left = score, calls

    def submit(self, texts: Sequence[EncodedText]) -> Future[ScoredTexts]:
        """Score them at once."""
        if not self._calls_left:
            raise ConnectionError("the scorer is gone")
        self._calls_left -= 1
        scores = np.full(len(texts), self._score, np.float32)
        done: Future[ScoredTexts] = Future()
        done.set_result(ScoredTexts(scores, scores, {}, "tiny", "fp32"))
        return done


@pytest.fixture
def replay(sway: Sway, registry: Path) -> Replay:
    """Of a partition whose events are a millisecond apart, and are labelled 30 ms later."""
    sway.create_topics(1)
    for number in range(EVENTS):
        event = BehaviorEvent(f"e{number}", f"user-{number % 9}", "watch", START_MS + number, "i", "alien")
        sway.produce(event)
    sway.flush()
    for short in ("alone", "alone.dead-letters", "alone.examples"):
        sway.topics.create(short)
    labels = {"outcomes": False, "negative": 0.0, "horizon_s": 0.03, "grace_s": 0.0}
    into: dict[str, Any] = {"topic": sway.topics.name("alone"), "parquet": None}
    return Replay(sway, registry, "alone", batch_records=BATCH, labels=labels, with_labels=True, **into)


def test_examples_tell_what_was_published_though_the_state_that_knew_it_is_lost(
    sway: Sway, replay: Replay
) -> None:
    with pytest.raises(ConnectionError):
        replay.run(Says(0.25, calls=4))
    assert 0 < replay.session.standing(1)[1][0].events_next < EVENTS  # type: ignore[index]
    shutil.rmtree(replay.settings.state_dir)
    assert replay.run(Says(0.75, calls=EVENTS))[0].done
    published = {score.event_id: score.y_hat for score in places_of(sway.read("alone")).values()}
    assert set(published.values()) == {0.25, 0.75}
    examples = [Codec(LabeledExample).decode(one.value()) for one in sway.read("alone.examples")]
    told = {one.event_id: one.y_hat for one in examples}
    assert len(told) == len(examples) == EVENTS - 30
    assert told == {event_id: published[event_id] for event_id in told}
    assert 0.25 in told.values()
