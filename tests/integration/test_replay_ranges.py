"""Valid and invalid ranges and outputs of a replay, and the messages of the command."""

import json
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from typer.testing import CliRunner, Result

from schemas.records import BehaviorEvent
from stream.replay.errors import OutputError, PastRetentionError, PlanError, RangeError
from stream.replay.ranges import AtOffsets, AtTime, Newest
from sway.cli import app
from tests.integration.replaying import Replay, places
from tests.integration.workers import Sway

EVENTS, KEPT_FROM, SCORED_FROM, WINDOW = 240, 60, 150, 3
START_MS = 1_750_000_000_000


@pytest.fixture
def cut(sway: Sway) -> Sway:
    """A topic with one partition whose oldest events retention has removed; there was no live run."""
    sway.create_topics(partitions=1)
    for number in range(EVENTS):
        user = f"user-{number * number % 31}"
        sway.produce(BehaviorEvent(f"e{number}", user, "watch", START_MS + number, f"i{number % 7}", "alien"))
    sway.flush()
    delete_before(sway, KEPT_FROM)
    return sway


def delete_before(sway: Sway, offset: int) -> None:
    """Delete events before an offset, as retention does."""
    oldest = TopicPartition(sway.topics.name("events"), 0, offset)
    for future in sway.topics.admin.delete_records([oldest]).values():
        future.result(30)


def test_users_whose_window_reaches_past_retention_are_counted(cut: Sway, registry: Path) -> None:
    replay = Replay(cut, registry, start=AtOffsets({0: SCORED_FROM}), window={"max_behaviours": WINDOW})
    done = replay.run()
    assert sorted(places(replay.rows())) == [(0, offset) for offset in range(SCORED_FROM, EVENTS)]
    read: Counter[str] = Counter()
    expected = set()
    for number in range(KEPT_FROM, EVENTS):
        user = f"user-{number * number % 31}"
        if number >= SCORED_FROM and read[user] <= WINDOW:
            expected.add(user)
        read[user] += 1
    everybody = {f"user-{number * number % 31}" for number in range(SCORED_FROM, EVENTS)}
    assert 0 < len(expected) < len(everybody)
    assert done[0].counts["users_past_retention"] == len(expected)
    texts = {row["source_offset"]: row["behaviours"] for row in replay.rows()}
    assert max(texts.values()) == WINDOW


def test_retention_before_the_start_only_shortens_the_history(cut: Sway, registry: Path) -> None:
    """A shorter history affects more users, which are counted; a shorter range is an error with the oldest offset."""
    found = {}
    for name, oldest in (("whole", KEPT_FROM), ("late", SCORED_FROM - 20)):
        replay = Replay(
            cut, registry, name, start=AtOffsets({0: SCORED_FROM}), window={"max_behaviours": WINDOW}
        )
        replay.plan()
        delete_before(cut, oldest)
        found[name] = replay.run()[0].counts
        assert sorted(places(replay.rows())) == [(0, offset) for offset in range(SCORED_FROM, EVENTS)]
    assert found["late"]["users_past_retention"] > found["whole"]["users_past_retention"]
    too_late = Replay(cut, registry, "too-late", start=AtOffsets({0: SCORED_FROM}))
    too_late.plan()
    delete_before(cut, SCORED_FROM + 1)
    with pytest.raises(PastRetentionError, match=f"the oldest offset is {SCORED_FROM + 1}"):
        too_late.run()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (AtOffsets({0: KEPT_FROM - 1}), f"the oldest offset of .* is {KEPT_FROM}"),
        (AtTime(0), f"the oldest offset of .* is {KEPT_FROM}, of 20"),
    ],
)
def test_a_range_that_starts_before_retention_is_refused(
    cut: Sway, registry: Path, start: AtOffsets | AtTime, message: str
) -> None:
    with pytest.raises(PastRetentionError, match=message):
        Replay(cut, registry, start=start).plan()


def test_a_range_outside_the_topic_is_refused(cut: Sway, registry: Path) -> None:
    with pytest.raises(RangeError, match=f"ends at offset {EVENTS}; {EVENTS + 1} is past it"):
        Replay(cut, registry, end=AtOffsets({0: EVENTS + 1})).plan()
    with pytest.raises(RangeError, match="The range contains no records of"):
        Replay(cut, registry, start=Newest()).plan()
    with pytest.raises(RangeError, match="has no partition 7"):
        Replay(cut, registry, start=AtOffsets({7: 1})).plan()


def test_a_started_replay_keeps_its_plan(cut: Sway, registry: Path) -> None:
    """The same command later has the same range; another output or setting is refused."""
    replay = Replay(cut, registry)
    plan = replay.plan()
    cut.produce(BehaviorEvent("later", "ann", "watch", START_MS))
    cut.flush()
    assert Replay(cut, registry).plan() == plan
    with pytest.raises(PlanError, match="started with another labels"):
        Replay(cut, registry, with_labels=True).plan()
    with pytest.raises(PlanError, match="settings that affect texts, or dtype"):
        Replay(cut, registry, window={"max_behaviours": 7}).plan()
    done = replay.run()
    assert done[0].done
    assert done[0].events_next == EVENTS


def test_missing_files_of_a_resumed_replay_are_an_error(cut: Sway, registry: Path) -> None:
    replay = Replay(cut, registry, batch_records=50)
    replay.run(on_start=lambda runner: runner.stop())  # only stores the plan
    with replay.in_a_thread() as running:
        running.wait_for_files(1)
        running.runner.stop()
        running.wait()
    first = min((replay.folder / "scores").glob("*.parquet"))
    first.unlink()
    with pytest.raises(OutputError, match=r"is expected next|lacks the files"):
        replay.run()


class Commands:
    """Runs the command in this process."""

    def __init__(self, sway: Sway, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = {
            **sway.environment,
            "SWAY_MODEL__REGISTRY": str(registry),
            "SWAY_STATE_DIR": str(sway.folder),
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("COLUMNS", "200")
        # It would change the garbage collection of the whole test process.
        monkeypatch.setattr("sway.replay.processes.tune_garbage_collection", lambda: None)

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["replay", *arguments])


@pytest.fixture
def command(cut: Sway, registry: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(cut, registry, monkeypatch)


def test_the_command_plans_runs_and_prints_a_summary(cut: Sway, command: Commands) -> None:
    folder, topic = cut.folder / "again", cut.topics.name("again")
    arguments = ("--from", "oldest", "--to-parquet", str(folder), "--to-topic", topic)
    dry = command(*arguments, "--dry-run")
    assert dry.exit_code == 0, dry.output
    plan = " ".join(dry.stderr.split())
    assert f"{KEPT_FROM} to {EVENTS}" in plan
    assert f"{EVENTS - KEPT_FROM} records to score, into topic {topic} and parquet" in plan
    assert "no outcomes" in plan
    assert "scored/s" in plan
    assert not folder.exists()
    assert topic not in cut.topics.admin.list_topics(timeout=10).topics

    ran = command(*arguments, "--json")
    assert ran.exit_code == 0, ran.output
    summary = json.loads(ran.stdout)
    assert (summary["complete"], summary["scores"]) == (True, EVENTS - KEPT_FROM)
    assert len(list(cut.read("again"))) == EVENTS - KEPT_FROM

    again = command(*arguments, "--json")
    assert json.loads(again.stdout)["records_per_s"] == 0
    assert len(list(cut.read("again"))) == EVENTS - KEPT_FROM


def test_the_command_refuses_live_and_foreign_outputs(cut: Sway, command: Commands) -> None:
    live = command("--to-topic", cut.topics.name("scores"))
    assert live.exit_code == 1
    assert "belongs to the live application" in live.stderr
    other = cut.topics.create("other", partitions=1)
    cut.produce(b"somebody's", topic="other", key="k")
    cut.flush()
    taken = command("--to-topic", other)
    assert taken.exit_code == 1
    assert f"{other} contains 1 records" in taken.stderr
    nowhere = command()
    assert nowhere.exit_code == 1
    assert "--to-topic, --to-parquet, or both" in nowhere.stderr
    assert "give a time" in command("--from", "yesterday", "--to-parquet", "x").stderr


def test_a_folder_of_another_replay_is_refused(cut: Sway, command: Commands) -> None:
    folder = str(cut.folder / "mine")
    assert command("--to-parquet", folder).exit_code == 0
    refused = command("--to-parquet", folder, "--id", "another")
    assert refused.exit_code == 1
    assert "holds the files of another replay" in refused.stderr
