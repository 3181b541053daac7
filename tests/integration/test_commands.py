"""The commands against a real broker."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner, Result

from schemas.records import BehaviorEvent
from schemas.wire import Codec
from sway.cli import app
from sway.embedded import EmbeddedKafka
from sway.embedded.ports import free_port
from tests.integration.conftest import Topics

NOW_MS = int(time.time() * 1000)


@pytest.fixture(autouse=True)
def settings(topics: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that point to the test's broker and topics."""
    monkeypatch.setenv("SWAY_KAFKA__BOOTSTRAP_SERVERS", topics.bootstrap_servers)
    monkeypatch.setenv("SWAY_TOPICS__PREFIX", topics.prefix)


def sway(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def tail(*arguments: str) -> list[dict[str, object]]:
    """Return the records of a topic as JSON, oldest first in each partition."""
    result = sway("tail", *arguments, "--from-beginning", "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def write_events(path: Path, lines: list[str]) -> Path:
    path.write_text("event_id,user_id,action,occurred_at\n" + "".join(f"{line}\n" for line in lines))
    return path


def test_topics_are_created_once_and_wrong_counts_are_refused(topics: Topics) -> None:
    first = sway("topics", "create", "--partitions", 3)
    assert first.exit_code == 0, first.output
    assert first.stdout.count("created  ") == 10
    assert f"created  {topics.prefix}.events: partitions 3\n" in first.stdout
    again = sway("topics", "create", "--partitions", 3)
    assert again.exit_code == 0
    assert again.stdout.count("exists   ") == 10
    other = sway("topics", "create", "--partitions", 4)
    assert other.exit_code == 1
    assert f"{topics.prefix}.events has 3 partitions instead of 4" in other.stderr
    assert other.stderr.count("\n") == 1


def test_history_also_changes_existing_topics(topics: Topics, tmp_path: Path) -> None:
    old = write_events(tmp_path / "old.csv", ["e1,u1,view,2001-02-03T04:05:06Z"])
    sway("topics", "create", "--partitions", 1)
    refused = sway("produce", old)
    assert refused.exit_code == 1
    assert "line 2 is older than the topic's retention" in refused.stderr
    assert "--history" in refused.stderr
    changed = sway("topics", "create", "--partitions", 1, "--history")
    assert f"changed  {topics.prefix}.events: partitions 1, unlimited retention\n" in changed.stdout
    assert sway("produce", old).exit_code == 0
    (record,) = tail("events", "--limit", "1")
    assert record["timestamp"] == 981_173_106_000


def test_more_replicas_than_brokers_is_an_error(topics: Topics) -> None:
    result = sway("topics", "create", "--replication", 2)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"sway: cannot create {topics.prefix}.events (")
    assert result.stderr.count("\n") == 1


def test_events_of_a_user_stay_in_order_in_one_partition(topics: Topics, tmp_path: Path) -> None:
    sway("topics", "create", "--partitions", 4)
    lines = [f"e{number},u{number % 10},view,{NOW_MS - 1000 + number}" for number in range(100)]
    result = sway("produce", write_events(tmp_path / "events.csv", lines))
    assert result.exit_code == 0, result.output
    assert f"100 records to {topics.prefix}.events" in result.stderr
    records = tail("events", "--limit", "100")
    by_user: dict[object, list[tuple[object, object]]] = {}
    for record in records:
        event = record["record"]
        assert isinstance(event, dict)
        assert record["key"] == event["user_id"]
        assert record["timestamp"] == event["occurred_at"]
        by_user.setdefault(record["key"], []).append((record["partition"], event["event_id"]))
    assert {len({partition for partition, _ in events}) for events in by_user.values()} == {1}
    for user, events in by_user.items():
        number = str(user)[1:]
        assert [event_id for _, event_id in events] == [
            f"e{ten}{number}".replace("e0", "e") for ten in range(10)
        ]
    assert len({partition for events in by_user.values() for partition, _ in events}) > 1


def test_users_are_partitioned_as_by_the_java_client(topics: Topics, tmp_path: Path) -> None:
    sway("topics", "create", "--partitions", 7)
    # From Kafka's UtilsTest: murmur2("21") = -973932308, murmur2("foobar") = -790332482.
    sway("produce", write_events(tmp_path / "a.csv", [f"1,21,view,{NOW_MS}", f"2,foobar,view,{NOW_MS}"]))
    where = {record["key"]: record["partition"] for record in tail("events", "--limit", "2")}
    assert where == {"21": (-973932308 & 0x7FFFFFFF) % 7, "foobar": (-790332482 & 0x7FFFFFFF) % 7}


def test_an_invalid_row_stops_with_its_line_or_is_skipped(topics: Topics, tmp_path: Path) -> None:
    sway("topics", "create", "--partitions", 1)
    rows = [f"e1,u1,view,{NOW_MS}", "e2,,view,1", "e3,u3,view,soon", f"e4,u4,view,{NOW_MS}"]
    path = write_events(tmp_path / "events.csv", rows)
    stopped = sway("produce", path)
    assert stopped.exit_code == 1
    assert f"sway: {path}, line 3: user_id missing. The rows before it were sent" in stopped.stderr
    assert "1 records to" in stopped.stderr
    skipped = sway("produce", path, "--on-error", "skip")
    assert skipped.exit_code == 0
    assert f"{path}, line 3: user_id missing\n{path}, line 4: occurred_at is not a time" in skipped.stderr
    assert "2 rows skipped" in skipped.stderr
    assert len(tail("events", "--limit", "3")) == 3


def test_outcomes_go_to_their_own_topic(topics: Topics, tmp_path: Path) -> None:
    sway("topics", "create", "--partitions", 1)
    path = tmp_path / "outcomes.jsonl"
    path.write_text(json.dumps({"event_id": "e1", "user_id": "u1", "y": 1, "observed_at": NOW_MS}) + "\n")
    assert sway("produce", path, "--to", "outcomes").exit_code == 0
    (record,) = tail("outcomes", "--limit", "1")
    assert record["type"] == "Outcome"
    assert record["record"] == {
        "event_id": "e1",
        "user_id": "u1",
        "y": 1.0,
        "observed_at": NOW_MS,
        "z": None,
    }


def test_now_changes_only_the_timestamp_of_the_record(topics: Topics, tmp_path: Path) -> None:
    sway("topics", "create", "--partitions", 1)
    assert sway("produce", write_events(tmp_path / "a.csv", ["e1,u1,view,1000"]), "--now").exit_code == 0
    (record,) = tail("events", "--limit", "1")
    event, timestamp = record["record"], record["timestamp"]
    assert isinstance(event, dict)
    assert isinstance(timestamp, int)
    assert event["occurred_at"] == 1000
    assert timestamp >= NOW_MS


def test_a_missing_topic_is_an_error(topics: Topics, tmp_path: Path) -> None:
    path = write_events(tmp_path / "a.csv", [])
    for result in (sway("produce", path), sway("tail", "events")):
        assert result.exit_code == 1
        assert result.stderr == (
            f"sway: there is no topic {topics.prefix}.events: create Sway's topics with `sway topics create`\n"
        )


def test_tail_shows_committed_records_and_reports_undecodable_ones(topics: Topics) -> None:
    topic = topics.create("mixed")
    codec = Codec(BehaviorEvent)
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers, "transactional.id": topics.prefix})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, codec.encode(BehaviorEvent("aborted", "u", "view", NOW_MS)))
    producer.flush(30)
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, codec.encode(BehaviorEvent("e1", "u1", "view", NOW_MS)))
    producer.produce(topic, b"{}")
    producer.produce(topic, None, key=b"u2")
    producer.commit_transaction(30)
    result = sway("tail", topic, "--from-beginning", "--limit", 3)
    event, garbage, tombstone = result.stdout.splitlines()
    assert "BehaviorEvent event_id=e1 user_id=u1 action=view" in event
    assert "cannot be decoded (bad_magic)" in garbage
    assert "cannot be decoded (empty)" in tombstone


def test_tail_starts_at_the_end_and_stops_on_ctrl_c(topics: Topics, tmp_path: Path) -> None:
    sway("topics", "create", "--partitions", 2)
    sway("produce", write_events(tmp_path / "old.csv", [f"old,u1,view,{NOW_MS}"]))
    with running("tail", "events", "--json") as process:
        assert read_line(process.stderr).startswith("reading ")
        sway("produce", write_events(tmp_path / "new.csv", [f"new,u1,view,{NOW_MS}"]))
        assert json.loads(read_line(process.stdout))["record"]["event_id"] == "new"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert read_all(process.stderr) == ""


def test_tail_leaves_no_consumer_group(topics: Topics, tmp_path: Path) -> None:
    sway("topics", "create", "--partitions", 1)
    sway("produce", write_events(tmp_path / "a.csv", [f"e1,u1,view,{NOW_MS}"]))
    tail("events", "--limit", "1")
    groups = topics.admin.list_consumer_groups().result(30)
    assert "sway-tail" not in {group.group_id for group in groups.valid}


def test_up_creates_topics_keeps_data_and_stops_on_sigterm(tmp_path: Path, topics: Topics) -> None:
    with running("up", "--port", free_port(), "--data-dir", tmp_path / "kafka") as process:
        name, _, address = read_line(process.stdout).partition("=")
        assert name == "export SWAY_KAFKA__BOOTSTRAP_SERVERS"
        assert read_line(process.stdout) == f"export SWAY_TOPICS__PREFIX={topics.prefix}"
        assert address != topics.bootstrap_servers
        producer = Producer({"bootstrap.servers": address, "log_level": 0})
        producer.produce(topics.name("events"), b"old", timestamp=1000)
        assert producer.flush(30) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert read_all(process.stderr).endswith("Kafka has stopped.\n")
    with EmbeddedKafka(tmp_path / "kafka") as kafka:
        metadata = Topics(kafka.bootstrap_servers, topics.prefix).admin.list_topics(timeout=10)
        assert topics.name("recommendations") in metadata.topics
        partitions = [TopicPartition(topics.name("events"), number) for number in range(4)]
        assert _count_records(kafka, partitions) == 1


def test_up_registers_schemas_and_reports_a_registry_that_exits(topics: Topics) -> None:
    with running("up", "--port", free_port(), "--registry", "--registry-port", free_port()) as process:
        assert read_line(process.stdout).startswith("export SWAY_KAFKA__BOOTSTRAP_SERVERS=")
        name, _, url = read_line(process.stdout).partition("=")
        assert name == "export SWAY_WIRE__REGISTRY_URL"
        checked = CliRunner().invoke(app, ["schemas", "check"], env={"SWAY_WIRE__REGISTRY_URL": url})
        assert checked.exit_code == 0, checked.output
        assert f"ok  {topics.name('events')}-value " in checked.stdout
        javas = [c for c in psutil.Process(process.pid).children(recursive=True) if c.name() == "java"]
        next(java for java in javas if "-jar" in java.cmdline()).kill()
        assert process.wait(60) == 1
        messages = read_all(process.stderr)
        assert "export SWAY_WIRE__FORMAT=confluent" in messages
        assert "sway: the Schema Registry exited with status 137" in messages


def test_up_reports_a_kafka_that_exits() -> None:
    with running("up", "--port", free_port()) as process:
        assert read_line(process.stdout).startswith("export ")
        children = psutil.Process(process.pid).children(recursive=True)
        next(child for child in children if child.name() == "java").kill()
        assert process.wait(60) == 1
        assert "sway: Kafka exited with status 137" in read_all(process.stderr)


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a command as a process, which is killed at the end."""
    command = [sys.executable, "-m", "sway.cli", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().rstrip("\n")


def read_all(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.read()


def _count_records(kafka: EmbeddedKafka, partitions: list[TopicPartition]) -> int:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "counting"})
    try:
        return sum(high - low for low, high in map(consumer.get_watermark_offsets, partitions))
    finally:
        consumer.close()
