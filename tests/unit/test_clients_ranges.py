"""Ranges are read to their ends by position, whatever the polls bring."""

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from clients.ranges import Polled, StalledError, read_ranges

EVENTS_0, EVENTS_1 = ("events", 0), ("events", 1)
END = KafkaError._PARTITION_EOF


class Message:
    """A record, or an error when it has a code."""

    def __init__(self, where: tuple[str, int], offset: int, code: int | None = None) -> None:
        self._where = where
        self._offset = offset
        self._error = None if code is None else KafkaError(code)

    def topic(self) -> str:
        return self._where[0]

    def partition(self) -> int:
        return self._where[1]

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return self._error


class ScriptedConsumer:
    """Gives its polls one after the other, then nothing. asked: how many records each poll asked for."""

    def __init__(self, *polls: list[Message]) -> None:
        self._polls = list(polls)
        self.assigned: list[tuple[str, int, int]] = []
        self.unassigned: list[tuple[str, int]] = []
        self.asked: list[int] = []

    def list_topics(self, topic: str, timeout: float) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))  # the brokers are away for now

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = [(one.topic, one.partition, one.offset) for one in partitions]

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.unassigned += [(one.topic, one.partition) for one in partitions]

    def consume(self, count: int, _timeout_s: float) -> list[Message]:
        self.asked.append(count)
        return self._polls.pop(0) if self._polls else []


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
    assert consumer.assigned == [("events", 0, 3)]
    assert consumer.unassigned == [EVENTS_0]


def test_a_record_behind_the_range_ends_it_and_is_left_out() -> None:
    assert offsets(
        read(ScriptedConsumer([Message(EVENTS_0, 3), Message(EVENTS_0, 9)]), {EVENTS_0: (3, 8)})
    ) == [3]


def test_an_end_of_partition_ends_a_range_only_at_or_past_its_end() -> None:
    consumer = ScriptedConsumer([Message(EVENTS_0, 4, END)], [Message(EVENTS_0, 9, END)])
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
        [Message(EVENTS_0, 0, KafkaError.NOT_LEADER_FOR_PARTITION)],
        [Message(EVENTS_0, 0, KafkaError.TOPIC_AUTHORIZATION_FAILED)],
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
