"""Whatever dies, is fenced or is forgotten: the requests hold every example once."""

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
    topics.create("examples", PARTITIONS)
    topics.create("training")
    return Examples(topics)


def committed(topics: Topics) -> dict[int, int]:
    """How far the group's offsets say that examples were handed over."""
    consumer = Consumer({"bootstrap.servers": topics.bootstrap_servers, "group.id": topics.group("handover")})
    asked = [TopicPartition(topics.name("examples"), number) for number in range(PARTITIONS)]
    found = {part.partition: part.offset for part in consumer.committed(asked, timeout=30)}
    consumer.close()
    return found


def forget(topics: Topics) -> None:
    """Delete the group's offsets, as the broker does after their retention."""
    group = topics.group("handover")
    topics.admin.delete_consumer_groups([group])[group].result(30)


def test_a_leader_that_is_killed_at_any_step_loses_and_doubles_nothing(
    topics: Topics, examples: Examples, processes: ForkServerContext
) -> None:
    seen = []
    for step in STEPS:
        examples.write(1)
        process = processes.Process(target=die_at, args=(step, topics.bootstrap_servers, topics.prefix))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, step
        seen.append(len(requests(topics)))
    assert seen == [0, 0, 0, 0, 1]  # what was not committed is not seen
    examples.write(1)
    with lead(topics, 1000) as leader:
        read_to_end(leader)
        last = leader.hand_over(forced=True)
    assert last is not None
    assert [request.examples for request in requests(topics)] == [20, last.examples] == [20, 4]
    assert audit(topics) == committed(topics)


def test_two_workers_that_both_believe_they_lead_hand_over_every_example_once(
    topics: Topics, examples: Examples, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "stream.handover.watch")
    with watched(topics) as one, watched(topics) as other:
        wait_for(lambda: one.shows("sway_handover_leader", 1), "a leader")
        wait_for(lambda: other.shows("sway_handover_leader", 1), "two leaders")
        for _ in range(30):
            examples.write(1)
        wait_for(lambda: sum(request.examples for request in requests(topics)) >= 120, "all requests")
    assert "FatalTransactionError" in caplog.text
    assert audit(topics) == committed(topics)


def test_ends_that_the_broker_forgot_are_read_from_the_requests_and_written_again(
    topics: Topics, examples: Examples
) -> None:
    examples.write(3, partitions=1)  # partition 1 was never handed over
    with lead(topics, 8) as leader:
        while leader.hand_over() is None:
            leader.read(0.2)
        read_to_end(leader)
        assert leader.hand_over(forced=True) is not None
    reached = committed(topics)
    forget(topics)
    assert committed(topics) != reached

    with lead(topics):
        pass
    assert committed(topics) == reached
    forget(topics)
    examples.write(1)
    with lead(topics) as leader:
        read_to_end(leader)
        made = leader.hand_over(forced=True)
    assert made is not None
    assert made.examples == 4
    audit(topics)


def test_a_record_that_is_no_request_stops_a_leader_that_needs_to_read_it(
    topics: Topics, examples: Examples
) -> None:
    examples.write(1)
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers})
    producer.produce(topics.name("training"), b"?")
    assert producer.flush(30) == 0
    with pytest.raises(DecodeError):
        lead(topics)
