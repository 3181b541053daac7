"""Reading ranges of examples: committed records only, with the gaps of transaction markers."""

import json
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from schemas.records import LabeledExample, OffsetRange
from schemas.wire import Codec
from tests.integration.conftest import Topics
from trainer.errors import RangeError
from trainer.ranges import ExampleRanges


def labeled(number: int) -> LabeledExample:
    return LabeledExample(
        event_id=f"e{number}",
        user_id=f"u{number}",
        item_id="i",
        history="",
        target=f"watch {number}",
        y=1.0,
        y_hat=0.5,
        z_hat=0.5,
        model_version="v",
        label_source="outcome",
        occurred_at=number,
        labeled_at=number,
    )


@pytest.fixture
def topic(topics: Topics) -> str:
    """Two partitions of ten examples each, in transactions of five: offsets 5 and 11 are markers."""
    name = topics.create("examples", partitions=2)
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers, "transactional.id": topics.prefix})
    producer.init_transactions(30)
    codec = Codec(LabeledExample)
    for batch in range(4):
        producer.begin_transaction()
        for number in range(batch * 5, batch * 5 + 5):
            producer.produce(name, codec.encode(labeled(number)), partition=batch % 2)
        producer.commit_transaction(30)
    return name


def reader(topics: Topics) -> ExampleRanges:
    return ExampleRanges({"bootstrap.servers": topics.bootstrap_servers}, timeout_s=20)


class Received:
    """Counts all records that a client has received, including prefetched ones, by librdkafka's statistics."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {"stats_cb": self._take, "statistics.interval.ms": 20}
        self._by_partition: dict[tuple[str, str], int] = {}

    @property
    def records(self) -> int:
        return sum(self._by_partition.values())

    def _take(self, text: str) -> None:
        for topic, found in json.loads(text)["topics"].items():
            for number, partition in found["partitions"].items():
                self._by_partition[topic, number] = partition["rxmsgs"]


def numbers(examples: list[Any]) -> list[int]:
    return sorted(example.occurred_at for example in examples)


def test_every_committed_example_is_read_once(topics: Topics, topic: str) -> None:
    ranges = reader(topics).all_of(topic)
    assert [(part.partition, part.start, part.end) for part in ranges] == [(0, 0, 12), (1, 0, 12)]
    new, older = reader(topics).read(ranges, 5)
    assert numbers(new) == list(range(20))
    assert older == []


def test_half_open_ranges_may_start_and_end_at_markers(topics: Topics, topic: str) -> None:
    new, older = reader(topics).read(
        [OffsetRange(topic, partition=0, start=2, end=4), OffsetRange(topic, partition=1, start=5, end=12)], 3
    )
    assert numbers(new) == [2, 3, 15, 16, 17, 18, 19]
    assert numbers(older) == [7, 8, 9]  # the newest before the ranges, of 5 to 9 in partition 1
    assert reader(topics).read([OffsetRange(topic, partition=0, start=5, end=6)], 0) == ([], [])


def test_a_range_outside_the_log_is_an_error(topics: Topics, topic: str) -> None:
    topics.admin.delete_records([TopicPartition(topic, 0, 6)])[TopicPartition(topic, 0)].result(30)
    with pytest.raises(RangeError, match="before 6, the oldest"):
        reader(topics).read([OffsetRange(topic, partition=0, start=2, end=12)], 0)
    with pytest.raises(RangeError, match="ends at 12"):
        reader(topics).read([OffsetRange(topic, partition=1, start=2, end=25)], 0)
    with pytest.raises(RangeError, match="no topic"):
        reader(topics).all_of(topics.name("nothing"))


def test_a_few_older_examples_cost_a_few_reads(topics: Topics) -> None:
    partitions, transactions, records_each = 8, 100, 20
    name = topics.create("examples", partitions=partitions)
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers, "transactional.id": topics.prefix})
    producer.init_transactions(30)
    codec = Codec(LabeledExample)
    for transaction in range(transactions):
        producer.begin_transaction()
        for number in range(transaction * records_each, (transaction + 1) * records_each):
            for partition in range(partitions):
                one = labeled(number * partitions + partition)
                one.history = "watch alien liked ; " * 50
                producer.produce(name, codec.encode(one), partition=partition)
        producer.commit_transaction(30)
    records = partitions * transactions * records_each
    received = Received()
    ranges = ExampleRanges({"bootstrap.servers": topics.bootstrap_servers, **received.config}, timeout_s=20)
    end = transactions * (records_each + 1)
    new, older = ranges.read(
        [OffsetRange(name, partition=number, start=end - 11, end=end) for number in range(partitions)], 1_600
    )
    assert numbers(new) == list(range(records - 80, records))
    assert numbers(older) == list(range(records - 1_680, records - 80))
    assert 1_680 <= received.records <= 4 * 1_680, received.records
