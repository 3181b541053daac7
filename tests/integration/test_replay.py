"""What was live, replayed: the same scores, dead letters and examples, and nothing of production is touched."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.records import InfluenceScore, LabeledExample
from sway.embedded import EmbeddedKafka
from tests.faults.load import inputs
from tests.integration.conftest import Topics
from tests.integration.replaying import Place, Replay, places
from tests.integration.test_worker_delivery import feed
from tests.integration.workers import Sway

INPUTS = 1500
TOLERANCE = 1e-5


@dataclass
class Live:
    """What two workers made of inputs with bad, late and repeated ones, while the group rebalanced."""

    sway: Sway
    scores: dict[Place, InfluenceScore]
    dead_letters: set[tuple[str, int, int, str]]
    examples: dict[tuple[str, str], LabeledExample]


@pytest.fixture(scope="module")
def live(kafka: EmbeddedKafka, registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One live run that all tests here replay."""
    topics = Topics(kafka.bootstrap_servers, "replayed")
    with Sway(topics, registry, tmp_path_factory.mktemp("live")) as sway:
        sway.create_topics()
        limits = {"SWAY_UNITS__MAX_RECORDS": 40, "SWAY_UNITS__LINGER_S": 0.01}
        first = sway.worker("a", **limits).start()
        first.wait_until_ready()
        source = inputs()
        feed(sway, source, INPUTS // 2)
        second = sway.worker("b", **limits).start()  # joins while the first still works: a rebalance
        feed(sway, source, INPUTS - INPUTS // 2)
        events = sum(where[0] == topics.name("events") for where, _ in sway.produced)
        bad_outcomes = sum(where[0] == topics.name("outcomes") for where in sway.reasons)
        sway.wait_for_answers(events + bad_outcomes, 90)
        second.wait_until_ready()
        assert [first.terminate(), second.terminate()] == [0, 0]
        yield Live(
            sway,
            {(score.source.partition, score.source.offset): score for score in sway.scores()},
            {(one.topic, one.partition, one.offset, one.reason) for one in sway.dead_letters()},
            {(one.user_id, one.event_id): one for one in sway.examples()},
        )


def test_live_scores_and_their_replay_are_equal(live: Live, registry: Path) -> None:
    replay = Replay(live.sway, registry, with_labels=True)
    assert all(part.known.size for part in replay.plan().partitions.values())
    replay.run()
    again = places(replay.rows())
    assert again.keys() == live.scores.keys()
    for place, score in live.scores.items():
        row = again[place]
        assert row["y_hat"] == pytest.approx(score.y_hat, abs=TOLERANCE), place
        assert row["z_hat"] == pytest.approx(score.z_hat, abs=TOLERANCE), place
        assert row["influence"] == pytest.approx(score.influence, abs=TOLERANCE), place
        same = ("event_id", "user_id", "behaviours", "truncated", "duplicate", "outcomes_next")
        assert [row[name] for name in same] == [getattr(score, name) for name in same]
    letters = {
        (row["source_topic"], row["source_partition"], row["source_offset"], row["reason"])
        for row in replay.rows("dead_letters")
    }
    assert letters == live.dead_letters


def test_the_examples_of_a_replay_are_those_that_were_live(live: Live, registry: Path) -> None:
    replay = Replay(live.sway, registry, "examples", with_labels=True)
    replay.run()
    again = {(row["user_id"], row["event_id"]): row for row in replay.rows("examples")}
    assert again.keys() == live.examples.keys()
    for key, example in live.examples.items():
        row = again[key]
        same = ("history", "target", "y", "z", "label_source", "model_version")
        assert [row[name] for name in same] == [getattr(example, name) for name in same]
        assert row["y_hat"] == pytest.approx(example.y_hat, abs=TOLERANCE)
