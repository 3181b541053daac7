"""Clients of a real Kafka, opened and closed many times, leak no thread, file or memory.

tests/unit/test_nothing_is_left_open.py does the same with fakes, a hundred times each.
"""

import pytest

from clients.consumers import reader
from stream.exactly_once.kafka.offsets import stable_offsets
from stream.exactly_once.kafka.topics import TopicIds
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.records import TopicPartition
from tests.integration.conftest import Topics
from tests.integration.handovers import PARTITIONS, lead
from tests.support.holding import leaves_behind

TIMES = 20


@pytest.fixture
def made(topics: Topics) -> Topics:
    """The topics of a hand-over."""
    topics.create("examples", partitions=PARTITIONS)
    topics.create("training")
    return topics


def test_kafka_clients_leave_nothing_open(made: Topics) -> None:
    config = {"bootstrap.servers": made.bootstrap_servers}
    examples_0 = TopicPartition(made.name("examples"), 0)

    def cycle() -> None:
        consumer = reader(config, made.group())
        stable_offsets(consumer, [examples_0], lambda: False)
        writer = TransactionWriter(config, made.group(), transaction_timeout_s=10.0, max_record_bytes=1000)
        writer.init(10.0)
        writer.commit([], {examples_0: 0}, consumer.consumer_group_metadata(), {})
        writer.close()
        consumer.close()
        TopicIds(config, [examples_0.topic]).fetch()

    assert leaves_behind(cycle, TIMES, warm_up=3) == ""


def test_hand_over_leaders_leave_nothing_open(made: Topics) -> None:
    def cycle() -> None:
        with lead(made) as leader:
            leader.read(0.01)

    assert leaves_behind(cycle, TIMES, warm_up=3) == ""
