"""Retention that removes records during a replay: affected users are counted by whichever machine continues."""

from pathlib import Path

import pytest

from schemas.records import BehaviorEvent
from stream.replay.errors import PastRetentionError
from stream.replay.ranges import AtOffsets
from tests.integration.replaying import Replay, places
from tests.integration.test_replay_ranges import delete_before
from tests.integration.workers import Sway

EVENTS, SCORED_FROM, TAKEN, USERS = 240, 150, 60, 70
START_MS = 1_750_000_000_000
ALL = [(0, offset) for offset in range(SCORED_FROM, EVENTS)]


@pytest.fixture
def filled(sway: Sway) -> Sway:
    """A topic with one partition, before retention; there was no live run."""
    sway.create_topics(partitions=1)
    for number in range(EVENTS):
        sway.produce(BehaviorEvent(f"e{number}", f"user-{number % USERS}", "watch", START_MS + number, "i"))
    sway.flush()
    return sway


def replay(sway: Sway, registry: Path, name: str, machine: str = "one") -> Replay:
    """Return a replay of the last events, in small batches."""
    start = AtOffsets({0: SCORED_FROM})
    return Replay(sway, registry, name, machine=machine, start=start, batch_records=20)


def run_in_part(one: Replay) -> None:
    """Run a replay until it has committed a part of its range."""
    with one.in_a_thread() as running:
        running.wait_for_files(1)
        running.runner.stop()
        running.wait()
    standing = one.session.standing(1)
    assert standing is not None
    assert not standing[1][0].done


@pytest.mark.parametrize("machine", ["one", "other"])
def test_reopening_keeps_the_count_of_users_past_retention(
    filled: Sway, registry: Path, machine: str
) -> None:
    """The count also holds for a process that has read the plan before."""
    whole, first, second = (
        replay(filled, registry, name, at)
        for name, at in (("whole", "one"), ("shared", "one"), ("shared", machine))
    )
    plans = [one.plan() for one in (whole, first, second)]
    delete_before(filled, TAKEN)
    wanted = whole.run()[0].counts
    assert wanted["users_past_retention"] == USERS
    run_in_part(first)
    with second.session.batcher(second._model) as batcher:
        done = second.session.run(plans[2], 1, second._model, batcher)
    assert done[0].counts == wanted
    assert sorted(places(second.rows())) == ALL


def test_another_machine_counts_records_removed_since_the_start(filled: Sway, registry: Path) -> None:
    run_in_part(replay(filled, registry, "begun"))
    delete_before(filled, TAKEN)
    other = replay(filled, registry, "begun", "other")
    done = other.run()[0]
    assert sorted(places(other.rows())) == ALL
    assert done.counts["users_past_retention"] == USERS


def test_retention_within_the_range_stops_only_new_machines(filled: Sway, registry: Path) -> None:
    first = replay(filled, registry, "begun")
    run_in_part(first)
    delete_before(filled, SCORED_FROM + 1)
    with pytest.raises(PastRetentionError, match=f"the oldest offset is {SCORED_FROM + 1}"):
        replay(filled, registry, "begun", "other").run()
    assert first.run()[0].done
    assert sorted(places(first.rows())) == ALL


def test_a_late_event_after_the_range_changes_nothing(sway: Sway, registry: Path) -> None:
    """The wait for labels starts at the newest event of the range, whatever the time of later offsets."""
    sway.create_topics(partitions=1)
    day_ms = 86_400_000
    for number in range(60):
        at_ms = START_MS + number + (0 if 40 <= number < 45 else 10 * day_ms)
        sway.produce(BehaviorEvent(f"e{number}", f"user-{number % 9}", "watch", at_ms, "i"), at_ms=at_ms)
    sway.flush()
    late = Replay(sway, registry, "late", end=AtOffsets({0: 40}), with_labels=True)
    part = late.plan().partitions[0]
    assert (part.scored, part.run_out) == ((0, 40), (40, 60))
    late.run()
    assert sorted(places(late.rows())) == [(0, offset) for offset in range(40)]
