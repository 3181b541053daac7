"""A machine of a replay that is paused, loses its partitions, and wakes after another has done all of its work."""

import os
import signal
from pathlib import Path

import pytest

from schemas.records import BehaviorEvent
from tests.integration.replaying import Command, places, places_of
from tests.integration.workers import Sway

EVENTS = 600
START_MS = 1_750_000_000_000
pytestmark = pytest.mark.faults


@pytest.fixture
def watched(sway: Sway) -> Sway:
    """Events in two partitions; there was no live run."""
    sway.create_topics(partitions=2)
    sway.partitions = 2
    for number in range(EVENTS):
        user = f"user-{number % 9}"
        sway.produce(BehaviorEvent(f"e{number}", user, "watch", START_MS + number, f"i{number % 7}", "alien"))
    sway.flush()
    return sway


def test_a_machine_that_wakes_too_late_changes_nothing(watched: Sway, registry: Path) -> None:
    """It is paused past its session between any two steps; each offset is published once, and it exits with 0."""
    stopped, other = (
        Command(watched, registry, "shared", topic="shared", SWAY_REPLAY__BATCH_RECORDS=5) for _ in range(2)
    )
    other.move_to("other")
    with stopped.started() as process:
        stopped.wait_for_files(8, process)
        os.kill(process.pid, signal.SIGSTOP)
        visible = stopped.files()
        assert other.run() == 0, other.log_text()
        assert stopped.files() > visible  # so the other had work to do
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(60) == 0, stopped.log_text()
    scores, topic = places(stopped.rows()), places_of(watched.read("shared"))
    assert len(scores) == len(topic) == EVENTS
    assert {place: row["y_hat"] for place, row in scores.items()} == {
        place: score.y_hat for place, score in topic.items()
    }
