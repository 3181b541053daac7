"""`sway compare` on real topics: what is committed now, against what a replay wrote."""

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
    """Settings that point to the test's broker and to topics of its own."""
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
    """Writes transactions of scores, each score into its source partition."""

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
        """Write scores that nobody sees yet."""
        codec = Codec(type(record(rows[0])))
        self.producer.begin_transaction()
        for one in rows:
            self.producer.produce(self.topic, codec.encode(record(one)), partition=one["source_partition"])
        self.producer.flush(30)

    def commit(self, rows: list[Row]) -> None:
        """Write scores that everybody sees."""
        self.begin(rows)
        self.producer.commit_transaction(30)


def test_a_topic_agrees_with_what_a_replay_wrote_of_the_same_events(topics: Topics, tmp_path: Path) -> None:
    topic = topics.create("scores", 3)
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
    Writer(topics, "worker", topics.create("scores", 2)).commit(rows)
    told = found("scores", write(tmp_path / "a.parquet", rows))
    assert told["identical"] == told["a"]["scores"] == 25_001


def test_what_is_not_committed_yet_is_neither_seen_nor_waited_for(topics: Topics, tmp_path: Path) -> None:
    topic = topics.create("scores", 2)
    Writer(topics, "worker", topic).commit(ROWS[:10])
    open_one = Writer(topics, "other", topic)
    open_one.begin(ROWS[10:])
    try:
        told = found("scores", write(tmp_path / "a.parquet", ROWS))
    finally:
        open_one.producer.abort_transaction(30)
    assert (told["both"], told["identical"], told["only_b"]["count"]) == (10, 10, 10)


def test_a_topic_with_two_runs_counts_the_last_score_of_each_offset(topics: Topics, tmp_path: Path) -> None:
    writer = Writer(topics, "worker", topics.create("scores", 2))
    writer.commit([{**one, "model_version": "v-0", "y_hat": math.nan} for one in ROWS])
    writer.commit(ROWS)
    told = found("scores", write(tmp_path / "a.parquet", ROWS))
    assert (told["identical"], told["a"]["repeated"]) == (20, 20)
    assert told["a"]["model_versions"] == {"v-1": 20}


def test_the_examples_topic_labels_the_scores(topics: Topics, tmp_path: Path) -> None:
    topic = topics.create("examples", 2)
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers, "log_level": 0})
    codec = Codec(LabeledExample)
    for n in range(10):
        example = LabeledExample(f"e0-{n}", "u", "i", "", "t", float(n > 4), 0, 0, "v", "outcome", 0, 0)
        producer.produce(topic, codec.encode(example), partition=n % 2)
    producer.flush(30)
    file = write(tmp_path / "a.parquet", ROWS)
    for arguments in ([], ["--labels", "examples"]):
        told = found(file, file, *arguments)["labelled"]
        assert (told["source"], told["pairs"], told["positive"], told["y_hat"]["a"]) == (topic, 10, 5, 1.0)


def test_a_topic_of_other_records_or_of_none_is_refused(topics: Topics, tmp_path: Path) -> None:
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
