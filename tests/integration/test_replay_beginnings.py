"""Several machines that start one replay, and outputs or state that do not belong to it."""

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
    """A topic of events with one partition; there was no live run."""
    sway.create_topics(partitions=1)
    for number in range(EVENTS):
        event = BehaviorEvent(f"e{number}", f"user-{number % 9}", "watch", START_MS + number, "i", "alien")
        sway.produce(event)
    sway.flush()
    return sway


@pytest.fixture
def command(filled: Sway, registry: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(filled, registry, monkeypatch)


def run_while_loading(monkeypatch: pytest.MonkeyPatch, what: Any) -> None:
    """Call `what` while the command loads its model."""
    real = assembly.load_champion

    def load(settings: Any) -> Any:
        monkeypatch.setattr(assembly, "load_champion", real)
        what()
        return real(settings)

    monkeypatch.setattr(assembly, "load_champion", load)


def test_a_machine_that_starts_later_takes_part(
    filled: Sway, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first machine has written files by then, which must not count as another replay's."""
    folder, first = str(filled.folder / "both"), []
    run_while_loading(monkeypatch, lambda: first.append(command("--to-parquet", folder)))
    second = command("--to-parquet", folder)
    assert first[0].exit_code == 0, first[0].output
    assert second.exit_code == 0, second.output


def test_a_started_plan_is_visible_at_once(filled: Sway, registry: Path) -> None:
    """Offsets of a transaction may become visible only after its commit has returned."""
    for number in range(12):
        begun = Replay(filled, registry, f"begun-{number}").session
        plan = begun.begin(begun.plan("tiny"), 1)
        seen = begun.standing(1)
        assert seen is not None
        assert seen[0] == plan


@pytest.mark.parametrize("plans_at", [1, 2])
def test_concurrent_machines_agree_on_one_plan(
    filled: Sway, registry: Path, monkeypatch: pytest.MonkeyPatch, plans_at: int
) -> None:
    """plans_at: the lookup after which the other machine stores its plan; with 2, it fences this one at the first."""
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


def test_the_stored_plan_determines_the_model(
    filled: Sway, command: Commands, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine has planned first, with a version that this one does not have."""
    other = Replay(filled, registry, "both", machine="other")
    run_while_loading(monkeypatch, lambda: other.session.begin(other.session.plan("newer"), 1))
    result = command("--to-parquet", str(filled.folder / "both"))
    assert result.exit_code == 1
    assert "newer" in result.stderr
    assert other.rows() == []


def test_a_replay_id_cannot_leave_its_folder(filled: Sway, command: Commands) -> None:
    """The folder `..` may contain a worker's stores."""
    store = PartitionStore(filled.folder / "partition-00000")
    store.write([("windows", b"ann", b"x")], {"windows": Position("topic", 5, 0)})
    store.close()
    assert "is not a valid replay id" in command("--to-parquet", "x", "--id", "..").stderr
    store = PartitionStore(filled.folder / "partition-00000")
    assert store.get("windows", b"ann") == b"x"
    store.close()


def test_missing_output_is_an_error(filled: Sway, command: Commands, registry: Path) -> None:
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
    result = command("--to-topic", topic, "--id", "deleted")
    assert result.exit_code == 1
    assert f"{topic} was deleted" in result.stderr


def test_records_after_the_range_settle_its_last_events(filled: Sway, registry: Path) -> None:
    """The first record past its horizon gives an event its negative label, however late that record is."""
    labels = {"outcomes": False, "negative": 0.0, "horizon_s": 0.005, "grace_s": 0.0}
    replay = Replay(filled, registry, labels=labels, end=AtOffsets({0: 10}), with_labels=True)
    replay.run()
    assert len(places(replay.rows())) == 10
    assert len(replay.rows("examples")) == 10
