"""A replay of a live run gives the same scores, dead letters and examples, and changes nothing of production."""

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
    """The output of two workers for valid, invalid, late and repeated inputs during a rebalance."""

    sway: Sway
    scores: dict[Place, InfluenceScore]
    dead_letters: set[tuple[str, int, int, str]]
    examples: dict[tuple[str, str], LabeledExample]


@pytest.fixture(scope="module")
def live(kafka: EmbeddedKafka, registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One live run, shared by the tests of this module."""
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
                # The second worker joins while the first is processing, which causes a rebalance.
                second = sway.worker("b", **limits).start()
            feed(sway, source, INPUTS // PARTS)
        events = sum(where[0] == topics.name("events") for where, _ in sway.produced)
        bad_outcomes = sum(where[0] == topics.name("outcomes") for where in sway.reasons)
        sway.wait_for_answers(events + bad_outcomes, timeout_s=90)
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
    """An uninterrupted replay with labels; it must not change anything of production."""
    before = production(live.sway, registry)
    replay = Replay(live.sway, registry, with_labels=True)
    replay.run()
    assert production(live.sway, registry) == before
    return replay


def test_replayed_scores_equal_the_live_ones(live: Live, undisturbed: Replay) -> None:
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


def test_replayed_examples_equal_the_live_ones(live: Live, undisturbed: Replay) -> None:
    again = {(row["user_id"], row["event_id"]): row for row in undisturbed.rows("examples")}
    assert again.keys() == live.examples.keys()
    for key, example in live.examples.items():
        row = again[key]
        same = ("history", "target", "y", "z", "label_source", "model_version", "snapshot")
        assert [row[name] for name in same] == [getattr(example, name) for name in same]
        assert row["y_hat"] == pytest.approx(example.y_hat, abs=TOLERANCE)


@pytest.mark.faults
def test_a_replay_killed_three_times_gives_the_same_output(
    live: Live, registry: Path, undisturbed: Replay
) -> None:
    """The command runs as a process, into a topic and into Parquet; its state folder is deleted before the third start.

    The last run has two workers, of which one is killed too. tests/property covers crashes at each step of a commit.
    """
    command = Command(
        live.sway, registry, "killed", topic="killed", labels=True, SWAY_REPLAY__BATCH_RECORDS=12
    )
    for files, without_state in ((5, False), (25, True), (50, False)):
        with command.started() as process:
            command.wait_for_files(files, process)
            process.kill()
            assert process.wait(30) == -signal.SIGKILL, command.log_text()
        if without_state:
            shutil.rmtree(command.state)
    with command.started("--workers", "2") as process:
        command.wait_for_files(60, process)
        command.workers(process)[0].kill()
        assert process.wait(90) == 0, command.log_text()
    assert differences(command, undisturbed)[:3] == []
    topic = places_of(live.sway.read("killed"))
    assert topic.keys() == places(command.rows()).keys()
    assert {place: row["y_hat"] for place, row in places(command.rows()).items()} == {
        place: score.y_hat for place, score in topic.items()
    }
    examples = [Codec(LabeledExample).decode(one.value()) for one in live.sway.read("killed.examples")]
    assert sorted((one.user_id, one.event_id) for one in examples) == sorted(live.examples)


def test_a_replay_without_old_scores_differs_from_live(live: Live, registry: Path) -> None:
    """Without old scores the live order of outcomes is unknown, and the plan records that."""
    replay = Replay(
        live.sway, registry, "by-time", old_scores=live.sway.topics.create("nothing", partitions=4)
    )
    replay.run()
    plan = replay.plan()
    assert not any(part.known.size for part in plan.partitions.values())
    again = places(replay.rows())
    moved = [
        place for place, score in live.scores.items() if abs(again[place]["y_hat"] - score.y_hat) > TOLERANCE
    ]
    assert again.keys() == live.scores.keys()
    assert moved  # so the equality in the other tests depends on outcomes_next
