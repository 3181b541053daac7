"""Ranges are read to their ends by position, whatever the polls bring."""

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from clients.ranges import Polled, StalledError, read_ranges
from tests.support.scripted_consumer import END, Message, ScriptedConsumer

EVENTS_0, EVENTS_1 = ("events", 0), ("events", 1)


class AwayAtFirst(ScriptedConsumer):
    """Its brokers do not answer when leaders are looked up."""

    def list_topics(self, topic: str, timeout: float) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))


class Clock:
    """A second goes by at each look."""

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


def test_a_record_behind_the_range_ends_it_and_is_left_out() -> None:
    assert offsets(
        read(ScriptedConsumer([Message(EVENTS_0, 3), Message(EVENTS_0, 9)]), {EVENTS_0: (3, 8)})
    ) == [3]


def test_an_end_of_partition_ends_a_range_only_at_or_past_its_end() -> None:
    consumer = ScriptedConsumer([Message(EVENTS_0, 4, code=END)], [Message(EVENTS_0, 9, code=END)])
    polls = read(consumer, {EVENTS_0: (3, 8)})
    assert [polled.reached for polled in polls] == [{EVENTS_0: 4}, {EVENTS_0: 9}]


def test_partitions_end_one_by_one() -> None:
    consumer = ScriptedConsumer(
        [Message(EVENTS_0, 0), Message(EVENTS_1, 0), Message(EVENTS_1, 1)],
        [Message(EVENTS_1, 2), Message(EVENTS_0, 1)],
    )
    polls = read(consumer, {EVENTS_0: (0, 2), EVENTS_1: (0, 2)})
    assert [len(polled.records) for polled in polls] == [3, 1]
    assert consumer.unassigned == [EVENTS_1, EVENTS_0]


def test_empty_ranges_ask_for_nothing() -> None:
    consumer = ScriptedConsumer()
    assert read(consumer, {EVENTS_0: (5, 5)}) == []
    assert consumer.asked == []


def test_no_more_is_asked_for_than_the_ranges_have() -> None:
    consumer = ScriptedConsumer([Message(EVENTS_0, 0)], [Message(EVENTS_0, 1), Message(EVENTS_0, 2)])
    read(consumer, {EVENTS_0: (0, 3)}, max_records=1_000)
    assert consumer.asked == [3, 2]


def test_a_transient_error_is_waited_out_and_any_other_is_raised() -> None:
    consumer = ScriptedConsumer(
        [Message(EVENTS_0, 0, code=KafkaError.NOT_LEADER_FOR_PARTITION)],
        [Message(EVENTS_0, 0, code=KafkaError.TOPIC_AUTHORIZATION_FAILED)],
    )
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        read(consumer, {EVENTS_0: (0, 3)})
    assert len(consumer.asked) == 2


def test_a_reader_without_progress_stalls_and_names_what_it_waits_for() -> None:
    consumer = ScriptedConsumer([Message(EVENTS_1, 0)])
    with pytest.raises(StalledError, match=r"no record of events\[0\] came") as raised:
        read(consumer, {EVENTS_0: (0, 3), EVENTS_1: (0, 1)}, timeout_s=4, clock=Clock())
    assert raised.value.waiting == [EVENTS_0]
    assert len(consumer.asked) == 6  # one with a record, five seconds of polling without


def test_time_between_polls_is_no_stall() -> None:
    clock = Clock()
    consumer = ScriptedConsumer([], [Message(EVENTS_0, 0)])
    polls = read_ranges(cast("Consumer", consumer), {EVENTS_0: (0, 1)}, timeout_s=4, clock=clock)
    next(polls)
    clock.now += 1_000  # the caller takes its time
    assert offsets([next(polls)]) == [0]


def test_a_check_ends_the_reading() -> None:
    def check() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        read(ScriptedConsumer(), {EVENTS_0: (0, 1)}, check=check)


def test_unreachable_brokers_when_leaders_are_looked_up_do_not_end_the_reading() -> None:
    assert offsets(read(AwayAtFirst([Message(EVENTS_0, 0)]), {EVENTS_0: (0, 1)})) == [0]
