"""`read_ranges` reads each range up to its end offset, whatever the polls return."""

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from clients.ranges import Polled, StalledError, read_ranges
from tests.support.scripted_consumer import END, Message, ScriptedConsumer

EVENTS_0, EVENTS_1 = ("events", 0), ("events", 1)


class WithoutLeaderLookup(ScriptedConsumer):
    """A consumer whose leader lookups fail."""

    def list_topics(self, topic: str, timeout: float) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))


class Clock:
    """A clock that advances by one second per call."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def read(
    consumer: ScriptedConsumer, ranges: dict[tuple[str, int], tuple[int, int]], **settings: Any
) -> list[Polled]:
    return list(read_ranges(cast("Consumer", consumer), ranges, **settings))


def offsets(polls: list[Polled]) -> list[int]:
    return [message.offset() or 0 for polled in polls for message in polled.records]


def test_a_range_ends_at_its_last_record() -> None:
    consumer = ScriptedConsumer([Message(EVENTS_0, 3)], [Message(EVENTS_0, 4)], [Message(EVENTS_0, 5)])
    polls = read(consumer, {EVENTS_0: (3, 5)})
    assert offsets(polls) == [3, 4]
    assert [polled.reached for polled in polls] == [{EVENTS_0: 4}, {EVENTS_0: 5}]
    assert consumer.assigned == {EVENTS_0: 3}
    assert consumer.unassigned == [EVENTS_0]


def test_a_record_past_the_end_ends_the_range() -> None:
    assert offsets(
        read(ScriptedConsumer([Message(EVENTS_0, 3), Message(EVENTS_0, 9)]), {EVENTS_0: (3, 8)})
    ) == [3]


def test_an_early_end_of_partition_does_not_end_the_range() -> None:
    consumer = ScriptedConsumer([Message(EVENTS_0, 4, code=END)], [Message(EVENTS_0, 9, code=END)])
    polls = read(consumer, {EVENTS_0: (3, 8)})
    assert [polled.reached for polled in polls] == [{EVENTS_0: 4}, {EVENTS_0: 9}]


def test_partitions_finish_independently() -> None:
    consumer = ScriptedConsumer(
        [Message(EVENTS_0, 0), Message(EVENTS_1, 0), Message(EVENTS_1, 1)],
        [Message(EVENTS_1, 2), Message(EVENTS_0, 1)],
    )
    polls = read(consumer, {EVENTS_0: (0, 2), EVENTS_1: (0, 2)})
    assert [len(polled.records) for polled in polls] == [3, 1]
    assert consumer.unassigned == [EVENTS_1, EVENTS_0]


def test_empty_ranges_are_not_polled() -> None:
    consumer = ScriptedConsumer()
    assert read(consumer, {EVENTS_0: (5, 5)}) == []
    assert consumer.asked == []


def test_polls_request_at_most_the_remaining_records() -> None:
    consumer = ScriptedConsumer([Message(EVENTS_0, 0)], [Message(EVENTS_0, 1), Message(EVENTS_0, 2)])
    read(consumer, {EVENTS_0: (0, 3)}, max_records=1_000)
    assert consumer.asked == [3, 2]


def test_transient_errors_are_retried_and_others_raised() -> None:
    consumer = ScriptedConsumer(
        [Message(EVENTS_0, 0, code=KafkaError.NOT_LEADER_FOR_PARTITION)],
        [Message(EVENTS_0, 0, code=KafkaError.TOPIC_AUTHORIZATION_FAILED)],
    )
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        read(consumer, {EVENTS_0: (0, 3)})
    assert len(consumer.asked) == 2


def test_a_stalled_reader_names_the_unfinished_ranges() -> None:
    consumer = ScriptedConsumer([Message(EVENTS_1, 0)])
    with pytest.raises(StalledError, match=r"no record of events\[0\] came") as raised:
        read(consumer, {EVENTS_0: (0, 3), EVENTS_1: (0, 1)}, timeout_s=4, clock=Clock())
    assert raised.value.waiting == [EVENTS_0]
    assert len(consumer.asked) == 6  # one poll with a record, then five seconds without


def test_time_between_polls_does_not_count_as_a_stall() -> None:
    clock = Clock()
    consumer = ScriptedConsumer([], [Message(EVENTS_0, 0)])
    polls = read_ranges(cast("Consumer", consumer), {EVENTS_0: (0, 1)}, timeout_s=4, clock=clock)
    next(polls)
    clock.now += 1_000  # the caller is slow
    assert offsets([next(polls)]) == [0]


def test_an_error_from_the_check_ends_the_read() -> None:
    def check() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        read(ScriptedConsumer(), {EVENTS_0: (0, 1)}, check=check)


def test_a_failed_leader_lookup_does_not_end_the_read() -> None:
    assert offsets(read(WithoutLeaderLookup([Message(EVENTS_0, 0)]), {EVENTS_0: (0, 1)})) == [0]
