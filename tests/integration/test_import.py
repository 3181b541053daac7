"""`sway import` with a real broker."""

import json
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner, Result

from schemas.records import BehaviorEvent
from schemas.wire import Codec
from sway.cli import app
from tests.integration.conftest import Topics
from tests.support.importing import write_log

ANCIENT_S = 964_982_703  # years older than any retention
MAPPING = ["--map", "user_id=who", "--map", "item_id=what", "--map", "occurred_at=at"]
MAPPING += ["--set", "action=rate", "--time-unit", "s"]
MURMUR2 = {"21": -973932308, "foobar": -790332482}  # from Kafka's UtilsTest


@pytest.fixture(autouse=True)
def settings(topics: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that point to the test's broker and topics."""
    monkeypatch.setenv("SWAY_KAFKA__BOOTSTRAP_SERVERS", topics.bootstrap_servers)
    monkeypatch.setenv("SWAY_TOPICS__PREFIX", topics.prefix)


def sway_import(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import", *(str(argument) for argument in arguments)])


def in_topic(topics: Topics, partitions: int) -> list[tuple[int, str, int, BehaviorEvent]]:
    """Return the partition, key, timestamp and event of every record, in order within each partition."""
    name, codec, found = topics.name("events"), Codec(BehaviorEvent), []
    consumer = Consumer({"bootstrap.servers": topics.bootstrap_servers, "group.id": topics.group()})
    try:
        for partition in range(partitions):
            _, end = consumer.get_watermark_offsets(TopicPartition(name, partition), 10)
            consumer.assign([TopicPartition(name, partition, 0)])
            for message in consumer.consume(end, 30) if end else []:
                key, value = message.key(), message.value()
                assert isinstance(key, bytes)
                assert isinstance(value, bytes)
                found.append((partition, key.decode(), message.timestamp()[1], codec.decode(value)))
    finally:
        consumer.close()
    return found


def rows(*, start: int, count: int) -> list[dict[str, object]]:
    users = ["21", "foobar", "u3"]
    return [{"who": users[at % 3], "what": at, "at": ANCIENT_S + at} for at in range(start, start + count)]


def test_a_folder_of_all_formats_is_imported_completely(
    topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWAY_TOPICS__PARTITIONS", "3")
    for number, name in enumerate(("day-2.jsonl", "day-9.csv", "day-10.parquet")):
        write_log(tmp_path / "logs" / name, rows(start=1000 * number, count=1000))
    refused = sway_import(tmp_path / "logs", *MAPPING)
    assert refused.exit_code == 1
    assert f"there is no topic {topics.name('events')}: `--create` creates it" in refused.stderr
    done = sway_import(tmp_path / "logs", *MAPPING, "--create")
    assert done.exit_code == 0, done.output
    assert f"3000 records to {topics.name('events')}" in done.stderr
    found = in_topic(topics, 3)
    assert sorted(int(event.item_id) for *_, event in found) == list(range(3000))
    by_user: dict[str, list[int]] = {}
    for partition, key, time_ms, event in found:
        assert key == event.user_id
        assert time_ms == event.occurred_at == (ANCIENT_S + int(event.item_id)) * 1000
        assert key not in MURMUR2 or partition == (MURMUR2[key] & 0x7FFFFFFF) % 3
        by_user.setdefault(key, []).append(int(event.item_id))
    assert all(items == sorted(items) for items in by_user.values())
    assert len({event.event_id for *_, event in found}) == 3000


def test_a_dry_run_shows_the_mapping_and_sends_nothing(topics: Topics, tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.csv", rows(start=0, count=3))
    shown = sway_import(path, *MAPPING, "--create", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "column who" in shown.stdout
    assert "constant 'rate'" in shown.stdout
    assert str(ANCIENT_S * 1000) in shown.stdout
    assert topics.name("events") not in topics.admin.list_topics(timeout=10).topics


def test_a_stopped_import_resumes_at_the_reported_position(topics: Topics, tmp_path: Path) -> None:
    topics.create("events", partitions=1, config={"retention.ms": "-1"})
    listed = rows(start=0, count=5)
    write_log(tmp_path / "a.csv", listed[:2])
    broken = write_log(tmp_path / "b.jsonl", [listed[2], listed[3] | {"who": ""}, listed[4]])
    stopped = sway_import(tmp_path, *MAPPING)
    assert stopped.exit_code == 1
    assert "sway: b.jsonl, line 2: user_id missing" in stopped.stderr
    assert "3 records to" in stopped.stderr
    assert "all rows before b.jsonl:2 were imported; resume with --from b.jsonl:2" in stopped.stderr
    broken.write_text(broken.read_text().replace('""', json.dumps("21")))
    done = sway_import(tmp_path, *MAPPING, "--from", "b.jsonl:2")
    assert done.exit_code == 0, done.output
    assert [int(event.item_id) for *_, event in in_topic(topics, 1)] == [0, 1, 2, 3, 4]


def test_invalid_rows_are_skipped_and_expired_rows_stop(topics: Topics, tmp_path: Path) -> None:
    topics.create("events", partitions=1)
    now_s = int(time.time())
    listed = [row | {"at": now_s - 5} for row in rows(start=0, count=3)] + rows(start=3, count=1)
    path = write_log(tmp_path / "a.csv", [listed[0], listed[1] | {"at": "soon"}, *listed[2:]])
    result = sway_import(path, *MAPPING, "--on-error", "skip")
    assert result.exit_code == 1
    assert "a.csv, line 3: occurred_at is not a time: a number of s" in result.stderr
    assert "a.csv:5 is older than the topic's retention" in result.stderr
    assert [int(event.item_id) for *_, event in in_topic(topics, 1)] == [0, 2]


def test_a_record_refused_by_the_broker_is_the_resume_position(topics: Topics, tmp_path: Path) -> None:
    topics.create("events", partitions=1, config={"retention.ms": "-1", "max.message.bytes": "2000"})
    write_log(tmp_path / "a.csv", rows(start=0, count=1))
    # Varied enough that lz4 does not compress it below the limit.
    large = "".join(chr(0x4E00 + at * 7919 % 20000) for at in range(4000))
    write_log(tmp_path / "b.csv", [rows(start=1, count=1)[0] | {"what": "x", "title": large}])
    assert sway_import(tmp_path / "a.csv", *MAPPING).exit_code == 0
    failed = sway_import(tmp_path, "--pattern", "b.csv", *MAPPING, "--map", "item_text=title")
    assert failed.exit_code == 1
    assert "1 records were not delivered to" in failed.stderr
    assert "all rows before b.csv:2 were imported" in failed.stderr
    assert len(in_topic(topics, 1)) == 1
