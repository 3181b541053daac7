"""A replay into a topic only, whose state is lost: its examples contain the scores published to that topic."""

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


class ConstantScorer:
    """A scorer that gives every text the same score, and fails after `calls` calls."""

    def __init__(self, score: float, *, calls: int) -> None:
        self._score, self._calls_left = score, calls

    def submit(self, texts: Sequence[EncodedText]) -> Future[ScoredTexts]:
        """Return completed scores. Raises ConnectionError after the last call."""
        if not self._calls_left:
            raise ConnectionError("the scorer is gone")
        self._calls_left -= 1
        scores = np.full(len(texts), self._score, np.float32)
        done: Future[ScoredTexts] = Future()
        done.set_result(ScoredTexts(scores, scores, {}, "tiny", "fp32"))
        return done


@pytest.fixture
def replay(sway: Sway, registry: Path) -> Replay:
    """A replay of one partition whose events are 1 ms apart and are labelled after 30 ms."""
    sway.create_topics(partitions=1)
    for number in range(EVENTS):
        event = BehaviorEvent(f"e{number}", f"user-{number % 9}", "watch", START_MS + number, "i", "alien")
        sway.produce(event)
    sway.flush()
    for short in ("alone", "alone.dead-letters", "alone.examples"):
        sway.topics.create(short)
    labels = {"outcomes": False, "negative": 0.0, "horizon_s": 0.03, "grace_s": 0.0}
    into: dict[str, Any] = {"topic": sway.topics.name("alone"), "parquet": None}
    return Replay(sway, registry, "alone", batch_records=BATCH, labels=labels, with_labels=True, **into)


def test_examples_keep_published_scores_after_state_loss(sway: Sway, replay: Replay) -> None:
    with pytest.raises(ConnectionError):
        replay.run(ConstantScorer(0.25, calls=4))
    assert 0 < replay.session.standing(1)[1][0].events_next < EVENTS  # type: ignore[index]
    shutil.rmtree(replay.settings.state_dir)
    assert replay.run(ConstantScorer(0.75, calls=EVENTS))[0].done
    published = {score.event_id: score.y_hat for score in places_of(sway.read("alone")).values()}
    assert set(published.values()) == {0.25, 0.75}
    examples = [Codec(LabeledExample).decode(one.value()) for one in sway.read("alone.examples")]
    learned = {one.event_id: one.y_hat for one in examples}
    assert len(learned) == len(examples) == EVENTS - 30
    assert learned == {event_id: published[event_id] for event_id in learned}
    assert 0.25 in learned.values()
