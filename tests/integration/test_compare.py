"""`sway compare` on real topics: committed scores compared with those of a replay."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from schemas.records import BehaviorEvent, LabeledExample
from schemas.wire import Codec
from sway.cli import app
from tests.integration.conftest import Topics
from tests.support.plain_scores import Row, record, row, write

ROWS = [row(offset, offset / 20, partition=number) for offset in range(10) for number in (0, 1)]


@pytest.fixture(autouse=True)
def settings(topics: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that point to the test's broker and topics."""
    monkeypatch.setenv("SWAY_KAFKA__BOOTSTRAP_SERVERS", topics.bootstrap_servers)
    monkeypatch.setenv("SWAY_TOPICS__PREFIX", topics.prefix)


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "200"})


def found(*arguments: object) -> dict[str, Any]:
    result = compare(*arguments, "--json")
    assert result.exit_code == 0, result.output
    shown: dict[str, Any] = json.loads(result.stdout)
    return shown


class Writer:
    """Writes scores in transactions, each score to its source partition."""

    def __init__(self, topics: Topics, name: str, topic: str) -> None:
        self.topic = topic
        config = {
            "bootstrap.servers": topics.bootstrap_servers,
            "transactional.id": topics.name(name),
            "log_level": 0,
        }
        self.producer = Producer(config)
        self.producer.init_transactions(30)

    def begin(self, rows: list[Row]) -> None:
        """Write scores in a transaction and leave it open."""
        codec = Codec(type(record(rows[0])))
        self.producer.begin_transaction()
        for one in rows:
            self.producer.produce(self.topic, codec.encode(record(one)), partition=one["source_partition"])
        self.producer.flush(30)

    def commit(self, rows: list[Row]) -> None:
        """Write scores in a transaction and commit it."""
        self.begin(rows)
        self.producer.commit_transaction(30)


def test_a_topic_agrees_with_a_replay_of_its_events(topics: Topics, tmp_path: Path) -> None:
    topic = topics.create("scores", partitions=3)
    writer = Writer(topics, "worker", topic)
    writer.commit(ROWS[:7])
    writer.begin([{**one, "influence": 0.9} for one in ROWS])
    writer.producer.abort_transaction(30)
    writer.commit(ROWS[7:])
    replayed = write(tmp_path / "replay" / "scores" / "part-0.parquet", ROWS[::-1]).parents[1]
    result = compare("scores", replayed, "--fail-over", 0)
    assert result.exit_code == 0, result.output
    assert "identical: all 20 scores in both runs are bitwise equal" in result.stdout
    assert topic in result.stderr  # its progress
    itself = found(topic, "scores")
    assert itself["both"] == itself["identical"] == itself["a"]["scores"] == 20
    assert itself["a"]["run"] == topic


def test_a_long_topic_is_read_to_its_end(topics: Topics, tmp_path: Path) -> None:
    rows = [row(offset, partition=offset % 2) for offset in range(25_001)]
    Writer(topics, "worker", topics.create("scores", partitions=2)).commit(rows)
    result = found("scores", write(tmp_path / "a.parquet", rows))
    assert result["identical"] == result["a"]["scores"] == 25_001


def test_open_transactions_are_neither_read_nor_waited_for(topics: Topics, tmp_path: Path) -> None:
    topic = topics.create("scores", partitions=2)
    Writer(topics, "worker", topic).commit(ROWS[:10])
    open_one = Writer(topics, "other", topic)
    open_one.begin(ROWS[10:])
    try:
        result = found("scores", write(tmp_path / "a.parquet", ROWS))
    finally:
        open_one.producer.abort_transaction(30)
    assert (result["both"], result["identical"], result["only_b"]["count"]) == (10, 10, 10)


def test_the_last_score_of_each_offset_counts(topics: Topics, tmp_path: Path) -> None:
    writer = Writer(topics, "worker", topics.create("scores", partitions=2))
    writer.commit([{**one, "model_version": "v-0", "y_hat": math.nan} for one in ROWS])
    writer.commit(ROWS)
    result = found("scores", write(tmp_path / "a.parquet", ROWS))
    assert (result["identical"], result["a"]["repeated"]) == (20, 20)
    assert result["a"]["model_versions"] == {"v-1": 20}


def test_the_examples_topic_labels_the_scores(topics: Topics, tmp_path: Path) -> None:
    topic = topics.create("examples", partitions=2)
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers, "log_level": 0})
    codec = Codec(LabeledExample)
    for n in range(10):
        example = LabeledExample(
            event_id=f"e0-{n}",
            user_id="u",
            item_id="i",
            history="",
            target="t",
            y=float(n > 4),
            y_hat=0,
            z_hat=0,
            model_version="v",
            label_source="outcome",
            occurred_at=0,
            labeled_at=0,
        )
        producer.produce(topic, codec.encode(example), partition=n % 2)
    producer.flush(30)
    file = write(tmp_path / "a.parquet", ROWS)
    for arguments in ([], ["--labels", "examples"]):
        labelled = found(file, file, *arguments)["labelled"]
        assert (labelled["source"], labelled["pairs"], labelled["positive"]) == (topic, 10, 5)
        assert labelled["y_hat"]["a"] == 1.0


def test_a_topic_without_scores_is_refused(topics: Topics, tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", ROWS)
    missing = compare("scores", file)
    assert missing.exit_code == 1
    assert (
        missing.stderr == f"sway: there is no topic {topics.name('scores')}, and no folder or file scores\n"
    )
    topic = topics.create("events")
    empty = compare(file, "events")
    assert empty.exit_code == 1
    assert f"sway: {topic} contains no scores to compare\n" in empty.stderr
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers, "log_level": 0})
    producer.produce(topic, Codec(BehaviorEvent).encode(BehaviorEvent("e", "secret-user", "view", 0)))
    producer.flush(30)
    wrong = compare(file, "events")
    assert wrong.exit_code == 1
    assert f"sway: {topic}[0]@0 is not of type InfluenceScore: " in wrong.stderr
    assert "secret-user" not in wrong.output
