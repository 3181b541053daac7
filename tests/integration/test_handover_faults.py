"""Requests contain every example once, despite crashes, fencing and expired offsets."""

import logging
import signal
from multiprocessing.context import ForkServerContext

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.errors import DecodeError
from tests.integration.conftest import Topics, wait_for
from tests.integration.dying_leader import STEPS, die_at
from tests.integration.handovers import PARTITIONS, Examples, audit, lead, read_to_end, requests
from tests.integration.test_handover_thread import watched

pytestmark = pytest.mark.faults


@pytest.fixture
def examples(topics: Topics) -> Examples:
    topics.create("examples", partitions=PARTITIONS)
    topics.create("training")
    return Examples(topics)


def committed(topics: Topics) -> dict[int, int]:
    """Return the group's committed offsets of the examples, by partition."""
    consumer = Consumer({"bootstrap.servers": topics.bootstrap_servers, "group.id": topics.group("handover")})
    asked = [TopicPartition(topics.name("examples"), number) for number in range(PARTITIONS)]
    found = {part.partition: part.offset for part in consumer.committed(asked, timeout=30)}
    consumer.close()
    return found


def expire_offsets(topics: Topics) -> None:
    """Delete the group's offsets, as the broker does after their retention."""
    group = topics.group("handover")
    topics.admin.delete_consumer_groups([group])[group].result(30)


def test_a_leader_killed_at_any_step_hands_over_everything_once(
    topics: Topics, examples: Examples, processes: ForkServerContext
) -> None:
    seen = []
    for step in STEPS:
        examples.write_transactions(1)
        process = processes.Process(target=die_at, args=(step, topics.bootstrap_servers, topics.prefix))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, step
        seen.append(len(requests(topics)))
    assert seen == [0, 0, 0, 0, 1]  # only the last step has committed a request
    examples.write_transactions(1)
    with lead(topics, min_examples=1000) as leader:
        read_to_end(leader)
        last = leader.hand_over(forced=True)
    assert last is not None
    assert [request.examples for request in requests(topics)] == [20, last.examples] == [20, 4]
    assert audit(topics) == committed(topics)


def test_two_competing_workers_hand_over_every_example_once(
    topics: Topics, examples: Examples, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "stream.handover.watch")
    with watched(topics) as one, watched(topics) as other:
        wait_for(lambda: one.shows("sway_handover_leader", 1), "a leader")
        wait_for(lambda: other.shows("sway_handover_leader", 1), "two leaders")
        for _ in range(30):
            examples.write_transactions(1)
        wait_for(lambda: sum(request.examples for request in requests(topics)) >= 120, "all requests")
    assert "FatalTransactionError" in caplog.text
    assert audit(topics) == committed(topics)


def test_expired_offsets_are_restored_from_the_requests(topics: Topics, examples: Examples) -> None:
    examples.write_transactions(3, partitions=1)  # nothing in partition 1
    with lead(topics, min_examples=8) as leader:
        while leader.hand_over() is None:
            leader.read(0.2)
        read_to_end(leader)
        assert leader.hand_over(forced=True) is not None
    reached = committed(topics)
    expire_offsets(topics)
    assert committed(topics) != reached

    with lead(topics):
        pass
    assert committed(topics) == reached
    expire_offsets(topics)
    examples.write_transactions(1)
    with lead(topics) as leader:
        read_to_end(leader)
        made = leader.hand_over(forced=True)
    assert made is not None
    assert made.examples == 4
    audit(topics)


def test_an_undecodable_request_stops_the_leader(topics: Topics, examples: Examples) -> None:
    examples.write_transactions(1)
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers})
    producer.produce(topics.name("training"), b"?")
    assert producer.flush(30) == 0
    with pytest.raises(DecodeError):
        lead(topics)
