"""The programs in examples/ run unchanged."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.records import BehaviorEvent
from schemas.wire import Codec
from sway.partitioner import murmur2_partition
from tests.integration.conftest import Topics, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
PARTITIONS = 3
CLICKS = 300
USERS = 10


def program(name: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / name)]


def read_committed(topics: Topics, topic: str) -> list[tuple[int, bytes, bytes]]:
    """Return the partition, key and value of all committed records, in order within each partition."""
    config = {
        "bootstrap.servers": topics.bootstrap_servers,
        "group.id": topics.group("audit"),
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
    consumer = Consumer(config)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    found, ends = [], 0
    while ends < PARTITIONS:
        for message in consumer.consume(100, 1.0):
            if message.error():
                ends += 1
            else:
                found.append((message.partition(), message.key(), message.value()))
    consumer.close()
    return found  # type: ignore[return-value]  # neither is None here


def test_an_event_is_produced_to_the_partition_sway_expects(topics: Topics) -> None:
    topic = topics.create("events", partitions=PARTITIONS)
    subprocess.run([*program("produce_event.py"), topics.bootstrap_servers, topic], check=True, timeout=60)
    ((partition, key, value),) = read_committed(topics, topic)
    assert partition == murmur2_partition(key, PARTITIONS)
    (event,) = Codec(BehaviorEvent).decode_batch([value])
    assert isinstance(event, BehaviorEvent)
    assert event.user_id.encode() == key


@pytest.mark.faults
def test_a_killed_counter_counts_every_click_once(topics: Topics, tmp_path: Path) -> None:
    clicks, counts = (
        topics.create("clicks", partitions=PARTITIONS),
        topics.create("counts", partitions=PARTITIONS),
    )
    produce_clicks(topics, clicks, range(CLICKS))
    with counter(topics, tmp_path) as first:
        wait_for(lambda: bool(read_committed(topics, counts)), "count")
        first.kill()
    produce_clicks(topics, clicks, range(CLICKS, 2 * CLICKS))
    with counter(topics, tmp_path) as second:
        wait_for(
            lambda: len(read_committed(topics, counts)) >= 2 * CLICKS, f"{2 * CLICKS} counts", timeout_s=60
        )
        second.send_signal(signal.SIGTERM)
        second.wait(30)
    by_user: dict[bytes, list[int]] = {}
    for _partition, user, count in read_committed(topics, counts):
        by_user.setdefault(user, []).append(int(count))
    each = 2 * CLICKS // USERS
    assert by_user == {f"u{number}".encode(): list(range(1, each + 1)) for number in range(USERS)}


def produce_clicks(topics: Topics, topic: str, numbers: range) -> None:
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers, "partitioner": "murmur2_random"})
    for number in numbers:
        producer.produce(topic, b"", key=f"u{number % USERS}")
    assert producer.flush(30) == 0


@contextmanager
def counter(topics: Topics, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the program as a process, which is killed at the end."""
    command = [*program("exactly_once.py"), topics.bootstrap_servers, topics.prefix, str(folder / "state")]
    with (folder / "log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.kill()
