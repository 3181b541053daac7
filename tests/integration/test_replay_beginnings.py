"""Several machines that begin a replay at once, and outputs and states that are not what a replay left."""

import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import stream.assembly as assembly
from schemas.records import BehaviorEvent
from stream.exactly_once.kafka.store import PartitionStore, Position
from stream.replay.journal import Journal
from stream.replay.ranges import AtOffsets
from sway.cluster import Cluster
from sway.replay.topics import make_topics
from tests.integration.conftest import wait_for
from tests.integration.replaying import Replay, places
from tests.integration.test_replay_ranges import Commands
from tests.integration.workers import Sway

EVENTS = 60
START_MS = 1_750_000_000_000


@pytest.fixture
def filled(sway: Sway) -> Sway:
    """A topic of one partition; nothing was ever live."""
    sway.create_topics(1)
    for number in range(EVENTS):
        event = BehaviorEvent(f"e{number}", f"user-{number % 9}", "watch", START_MS + number, "i", "alien")
        sway.produce(event)
    sway.flush()
    return sway


@pytest.fixture
def command(filled: Sway, registry: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(filled, registry, monkeypatch)


def while_it_loads(monkeypatch: pytest.MonkeyPatch, what: Any) -> None:
    """Have something happen elsewhere while the command loads its model."""
    real = assembly.load_champion

    def load(settings: Any) -> Any:
        monkeypatch.setattr(assembly, "load_champion", real)
        what()
        return real(settings)

    monkeypatch.setattr(assembly, "load_champion", load)


def test_a_machine_that_begins_a_little_later_takes_part(
    filled: Sway, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the first has written: those are not the files of another replay."""
    folder, first = str(filled.folder / "both"), []
    while_it_loads(monkeypatch, lambda: first.append(command("--to-parquet", folder)))
    second = command("--to-parquet", folder)
    assert first[0].exit_code == 0, first[0].output
    assert second.exit_code == 0, second.output


def test_a_plan_that_was_begun_is_seen_at_once(filled: Sway, registry: Path) -> None:
    """A group shows what a transaction committed to it a moment after the commit has returned, if asked too early."""
    for number in range(12):
        begun = Replay(filled, registry, f"begun-{number}").session
        plan = begun.begin(begun.plan("tiny"), 1)
        seen = begun.standing(1)
        assert seen is not None
        assert seen[0] == plan


@pytest.mark.parametrize("plans_at", [1, 2])
def test_of_two_that_plan_at_once_one_plan_stands(
    filled: Sway, registry: Path, monkeypatch: pytest.MonkeyPatch, plans_at: int
) -> None:
    """Also if the other takes the right to plan, and has not planned yet when the one looks for its plan."""
    one, other = Replay(filled, registry, "p"), Replay(filled, registry, "p", machine="other")
    look, looks, stands = Journal.look, count(1), []

    def overtaken(journal: Journal, *args: Any) -> Any:
        found = look(journal, *args)
        if next(looks) < plans_at:
            journal.writer("plan").init(10.0)
        else:
            monkeypatch.setattr(Journal, "look", look)
            stands.append(other.session.begin(other.session.plan("tiny"), 1))
        return found

    plan = one.session.plan("tiny")
    monkeypatch.setattr(Journal, "look", overtaken)
    assert one.session.begin(plan, 1) == stands[0]


def test_the_model_of_the_plan_that_stands_scores(
    filled: Sway, command: Commands, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine planned first, with a version that this one does not have."""
    other = Replay(filled, registry, "both", machine="other")
    while_it_loads(monkeypatch, lambda: other.session.begin(other.session.plan("newer"), 1))
    said = command("--to-parquet", str(filled.folder / "both"))
    assert said.exit_code == 1
    assert "newer" in said.stderr
    assert other.rows() == []


def test_an_id_leads_to_no_other_folder(filled: Sway, command: Commands) -> None:
    """A worker's stores may lie where `..` would lead."""
    store = PartitionStore(filled.folder / "partition-00000")
    store.write([("windows", b"ann", b"x")], {"windows": Position("topic", 5, 0)})
    store.close()
    assert "is not a valid replay id" in command("--to-parquet", "x", "--id", "..").stderr
    store = PartitionStore(filled.folder / "partition-00000")
    assert store.get("windows", b"ann") == b"x"
    store.close()


def test_output_that_is_gone_is_told(filled: Sway, command: Commands, registry: Path) -> None:
    folder = filled.folder / "gone"
    assert command("--to-parquet", str(folder)).exit_code == 0
    shutil.rmtree(folder)
    again = command("--to-parquet", str(folder))
    assert again.exit_code == 1
    assert "end at offset 0 instead of 60" in again.stderr

    topic = filled.topics.name("again")
    begun = Replay(filled, registry, "deleted", topic=topic, parquet=None)
    cluster = Cluster(begun.settings.kafka)
    make_topics(cluster, begun.settings, topic, with_labels=False, resumes=False)
    begun.plan()
    for future in filled.topics.admin.delete_topics([topic]).values():
        future.result(30)
    wait_for(lambda: topic not in cluster.view().partition_counts, "end of the topic")
    said = command("--to-topic", topic, "--id", "deleted")
    assert said.exit_code == 1
    assert f"{topic} was deleted" in said.stderr


def test_what_is_after_the_range_makes_its_last_events_due(filled: Sway, registry: Path) -> None:
    """The negative of an event comes with the first record past its horizon, however much later that is."""
    labels = {"outcomes": False, "negative": 0.0, "horizon_s": 0.005, "grace_s": 0.0}
    replay = Replay(filled, registry, labels=labels, end=AtOffsets({0: 10}), with_labels=True)
    replay.run()
    assert len(places(replay.rows())) == 10
    assert len(replay.rows("examples")) == 10
