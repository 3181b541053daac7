"""Examples written in transactions, hand-over leaders, and the audit of their requests."""

from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from schemas.records import TrainingRequest
from schemas.wire import Codec
from stream.handover.leader import HandoverLeader
from stream.handover.rule import HandoverRule
from tests.integration.conftest import Topics, wait_for

PARTITIONS = 2


def lead(topics: Topics, *, min_examples: int = 10, **extra: Any) -> HandoverLeader:
    """Return a leader for this test's topics. extra: further arguments of HandoverLeader."""
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
    """Read to the end of every partition; there must be fewer examples than its min_examples."""

    def read() -> bool:
        leader.read(0.05)
        return leader.caught_up

    wait_for(read, "end of the examples")


class Examples:
    """Writes to the topic of examples, four records per transaction; each marker leaves a gap in the offsets."""

    def __init__(self, topics: Topics) -> None:
        self._topic = topics.name("examples")
        self._producer = Producer(
            {"bootstrap.servers": topics.bootstrap_servers, "transactional.id": topics.prefix}
        )
        self._producer.init_transactions(30)

    def write_transactions(self, count: int, *, partitions: int = PARTITIONS) -> None:
        """Write and commit transactions of four records each."""
        for _ in range(count):
            self._producer.begin_transaction()
            for number in range(4):
                self._producer.produce(self._topic, b"example", partition=number % partitions)
            self._producer.commit_transaction(30)


def visible(topics: Topics, short: str, partitions: int) -> list[Message]:
    """Return all committed records of a topic."""
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
    ended: set[int | None] = set()  # the end of a partition may be reported twice
    while len(ended) < partitions:
        for message in consumer.consume(10_000, 0.1):
            if message.error() is None:
                found.append(message)
            else:
                ended.add(message.partition())
    consumer.close()
    return found


def requests(topics: Topics) -> list[TrainingRequest]:
    """Return all committed requests, oldest first."""
    return [Codec(TrainingRequest).decode(message.value()) for message in visible(topics, "training", 1)]


def audit(topics: Topics, *, partitions: int = PARTITIONS, left_at_most: int = 0) -> dict[int, int]:
    """Check that requests cover the examples without gap, overlap or rest, and contain the right counts.

    left_at_most: how many examples may wait for the next request.
    Returns the end offset handed over of each partition.
    """
    offsets: dict[int, list[int]] = {number: [] for number in range(partitions)}
    for message in visible(topics, "examples", partitions):
        offsets[message.partition() or 0].append(message.offset() or 0)
    reached = dict.fromkeys(offsets, 0)
    for request in requests(topics):
        count = 0
        for part in request.ranges:
            assert part.topic == topics.name("examples")
            assert part.start == reached[part.partition], f"{request} does not start at {reached}"
            assert part.end > part.start
            reached[part.partition] = part.end
            count += sum(part.start <= offset < part.end for offset in offsets[part.partition])
        assert request.examples == count, f"{request} contains {count} examples"
    left = {number: sum(offset >= reached[number] for offset in found) for number, found in offsets.items()}
    assert sum(left.values()) <= left_at_most, f"examples not handed over: {left}"
    return reached
