"""What was live, replayed: the same scores, dead letters and examples, and nothing of production is touched."""

import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.records import InfluenceScore, LabeledExample
from schemas.wire import Codec
from sway.embedded import EmbeddedKafka
from tests.faults.load import inputs
from tests.faults.process import ForkedWorker
from tests.integration.conftest import Topics
from tests.integration.replaying import (
    Command,
    Place,
    Replay,
    differences,
    places,
    places_of,
    production,
)
from tests.integration.test_worker_delivery import feed
from tests.integration.workers import Sway

INPUTS, PARTS = 1500, 30
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
        sway._new_worker = ForkedWorker
        limits = {"SWAY_UNITS__MAX_RECORDS": 40, "SWAY_UNITS__LINGER_S": 0.01}
        first = sway.worker("a", **limits).start()
        first.wait_until_ready()
        source = inputs()
        for part in range(PARTS):
            if part == PARTS // 2:
                second = sway.worker("b", **limits).start()  # joins while the first works: a rebalance
            feed(sway, source, INPUTS // PARTS)
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


@pytest.fixture(scope="module")
def undisturbed(live: Live, registry: Path) -> Replay:
    """A replay that ran through, with labels; what production had and had done is the same before and after."""
    before = production(live.sway, registry)
    replay = Replay(live.sway, registry, with_labels=True)
    replay.run()
    assert production(live.sway, registry) == before
    return replay


def test_live_scores_and_their_replay_are_equal(live: Live, undisturbed: Replay) -> None:
    assert all(part.known.size for part in undisturbed.plan().partitions.values())
    again = places(undisturbed.rows())
    assert again.keys() == live.scores.keys()
    for place, score in live.scores.items():
        row = again[place]
        for name in ("y_hat", "z_hat", "influence"):
            assert row[name] == pytest.approx(getattr(score, name), abs=TOLERANCE), place
        same = ("event_id", "user_id", "behaviours", "truncated", "duplicate", "outcomes_next")
        assert [row[name] for name in same] == [getattr(score, name) for name in same]
    letters = [
        (row["source_topic"], row["source_partition"], row["source_offset"], row["reason"])
        for row in undisturbed.rows("dead_letters")
    ]
    assert sorted(letters) == sorted(live.dead_letters)


def test_the_examples_of_a_replay_are_those_that_were_live(live: Live, undisturbed: Replay) -> None:
    again = {(row["user_id"], row["event_id"]): row for row in undisturbed.rows("examples")}
    assert again.keys() == live.examples.keys()
    for key, example in live.examples.items():
        row = again[key]
        same = ("history", "target", "y", "z", "label_source", "model_version", "snapshot")
        assert [row[name] for name in same] == [getattr(example, name) for name in same]
        assert row["y_hat"] == pytest.approx(example.y_hat, abs=TOLERANCE)


@pytest.mark.faults
def test_a_replay_that_is_killed_three_times_gives_what_an_undisturbed_one_does(
    live: Live, registry: Path, undisturbed: Replay
) -> None:
    """Processes of the command itself, into a topic and into Parquet; the third start finds its state folder gone.

    The last one has two workers, and loses one of them too. (Crashes at each seam of a commit: tests/property.)
    """
    command = Command(
        live.sway, registry, "killed", topic="killed", labels=True, SWAY_REPLAY__BATCH_RECORDS=12
    )
    for files, without_state in ((5, False), (25, True), (50, False)):
        with command.started() as process:
            command.wait_for_files(files, process)
            process.kill()
            assert process.wait(30) == -signal.SIGKILL, command.said()
        if without_state:
            shutil.rmtree(command.state)
    with command.started("--workers", "2") as process:
        command.wait_for_files(60, process)
        command.workers(process)[0].kill()
        assert process.wait(90) == 0, command.said()
    assert differences(command, undisturbed)[:3] == []
    topic = places_of(live.sway.read("killed"))
    assert topic.keys() == places(command.rows()).keys()
    assert {place: row["y_hat"] for place, row in places(command.rows()).items()} == {
        place: score.y_hat for place, score in topic.items()
    }
    examples = [Codec(LabeledExample).decode(one.value()) for one in live.sway.read("killed.examples")]
    assert sorted((one.user_id, one.event_id) for one in examples) == sorted(live.examples)


def test_the_order_by_time_is_said_and_differs_from_the_live_one(live: Live, registry: Path) -> None:
    """Without the old scores nobody can know when an outcome was read; the plan says so."""
    replay = Replay(live.sway, registry, "by-time", old_scores=live.sway.topics.create("nothing", 4))
    replay.run()
    plan = replay.plan()
    assert not any(part.known.size for part in plan.partitions.values())
    again = places(replay.rows())
    moved = [
        place for place, score in live.scores.items() if abs(again[place]["y_hat"] - score.y_hat) > TOLERANCE
    ]
    assert again.keys() == live.scores.keys()
    assert moved  # so the equality above is owed to outcomes_next
