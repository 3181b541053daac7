"""Examples in transactions, leaders, and the audit of what they handed over."""

from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from schemas.records import TrainingRequest
from schemas.wire import Codec
from stream.handover.leader import HandoverLeader
from stream.handover.rule import HandoverRule
from tests.integration.conftest import Topics, wait_for

PARTITIONS = 2


def lead(topics: Topics, min_examples: int = 10, **extra: Any) -> HandoverLeader:
    """Become the leader of this test's topics."""
    return HandoverLeader(
        {"bootstrap.servers": topics.bootstrap_servers},
        topics.group("handover"),
        examples=topics.name("examples"),
        training=topics.name("training"),
        codec=Codec(TrainingRequest),
        rule=HandoverRule(min_examples, 1000),
        **extra,
    )


def read_to_end(leader: HandoverLeader) -> None:
    """Read until every partition's end was seen; fewer than its min_examples must be there."""

    def read() -> bool:
        leader.read(0.05)
        return leader.caught_up

    wait_for(read, "end of the examples")


class Examples:
    """Writes records to the topic of examples, four to a transaction: each transaction's marker is a hole."""

    def __init__(self, topics: Topics) -> None:
        self._topic = topics.name("examples")
        self._producer = Producer(
            {"bootstrap.servers": topics.bootstrap_servers, "transactional.id": topics.prefix}
        )
        self._producer.init_transactions(30)

    def write(self, transactions: int, partitions: int = PARTITIONS) -> None:
        """Write so many transactions, each of four records and seen by none before it returns."""
        for _ in range(transactions):
            self._producer.begin_transaction()
            for number in range(4):
                self._producer.produce(self._topic, b"example", partition=number % partitions)
            self._producer.commit_transaction(30)


def visible(topics: Topics, short: str, partitions: int) -> list[Message]:
    """All that a read_committed reader sees of a topic now."""
    consumer = Consumer(
        {
            "bootstrap.servers": topics.bootstrap_servers,
            "group.id": topics.group("audit"),
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topics.name(short), number, 0) for number in range(partitions)])
    found: list[Message] = []
    ended: set[int | None] = set()  # an end may be told twice
    while len(ended) < partitions:
        for message in consumer.consume(10_000, 0.1):
            if message.error() is None:
                found.append(message)
            else:
                ended.add(message.partition())
    consumer.close()
    return found


def requests(topics: Topics) -> list[TrainingRequest]:
    """All requests that a read_committed reader sees now, oldest first."""
    return [Codec(TrainingRequest).decode(message.value()) for message in visible(topics, "training", 1)]


def audit(topics: Topics, partitions: int = PARTITIONS, *, left_at_most: int = 0) -> dict[int, int]:
    """Hold the requests against the examples: no gap, no overlap, none left, and each says how many it holds.

    left_at_most: how many examples may wait for the next request.

    Returns how far each partition was handed over.
    """
    offsets: dict[int, list[int]] = {number: [] for number in range(partitions)}
    for message in visible(topics, "examples", partitions):
        offsets[message.partition() or 0].append(message.offset() or 0)
    reached = dict.fromkeys(offsets, 0)
    for request in requests(topics):
        count = 0
        for part in request.ranges:
            assert part.topic == topics.name("examples")
            assert part.start == reached[part.partition], f"{request} starts elsewhere than {reached}"
            assert part.end > part.start
            reached[part.partition] = part.end
            count += sum(part.start <= offset < part.end for offset in offsets[part.partition])
        assert request.examples == count, f"{request} holds {count} examples"
    left = {number: sum(offset >= reached[number] for offset in found) for number, found in offsets.items()}
    assert sum(left.values()) <= left_at_most, f"examples that nobody handed over: {left}"
    return reached
