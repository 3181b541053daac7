"""When a topic waits for another, and when it goes on without it."""

import logging

import pytest

from stream.exactly_once.units.merging import TopicMerger
from stream.exactly_once.units.records import Epoch, RecordBatch, TopicPartition
from tests.support.running_engine import Record

EVENTS, NOTES = "events", "notes"
EPOCH = Epoch(1, "member")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def batch(topic: str, *times: int, partition: int = 0) -> RecordBatch:
    records = [Record(topic, partition, offset, b"", timestamp=at) for offset, at in enumerate(times)]
    return RecordBatch(topic, partition, records, 0, len(records), EPOCH)


def given(merger: TopicMerger, *behind: TopicPartition) -> list[tuple[str, list[int]]]:
    """What is ready while these partitions have more on their brokers."""
    ready = merger.ready(lambda where: where not in behind)
    return [(found.topic, [record.timestamp for record in found.records]) for found in ready]


def test_a_long_run_is_cut_where_another_topic_has_an_older_record() -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10, 20, 26, 40))
    merger.put(batch(NOTES, 21))
    assert given(merger) == [(EVENTS, [10, 20, 26]), (NOTES, [21]), (EVENTS, [40])]


def test_a_topic_that_has_more_on_its_broker_is_waited_for() -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10))
    assert given(merger, TopicPartition(NOTES, 0)) == []
    assert merger.waited_for == {TopicPartition(NOTES, 0)}
    assert given(merger) == [(EVENTS, [10])]
    assert merger.waited_for == set()


def test_other_partitions_go_on_while_one_waits() -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10))
    merger.put(batch(EVENTS, 20, partition=1))
    assert given(merger, TopicPartition(NOTES, 0)) == [(EVENTS, [20])]


def test_a_clock_that_is_ahead_holds_nothing_back_once_the_other_topic_is_read() -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10**12))
    merger.put(batch(NOTES, 10, 20))
    assert given(merger) == [(NOTES, [10, 20]), (EVENTS, [10**12])]


def test_patience_with_a_topic_that_gives_nothing_has_an_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30, clock=clock)
    merger.put(batch(EVENTS, 10))
    assert given(merger, TopicPartition(NOTES, 0)) == []
    clock.now = 29.0
    assert given(merger, TopicPartition(NOTES, 0)) == []
    clock.now = 31.0
    with caplog.at_level(logging.WARNING):
        assert given(merger, TopicPartition(NOTES, 0)) == [(EVENTS, [10])]
    assert caplog.messages == [
        "notes gave no record for 31 s although its broker has more: partition 0 continues without it, "
        "so records with the same timestamps may be processed in a different order."
    ]


def test_waiting_is_counted_anew_after_a_record_came() -> None:
    clock = Clock()
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30, clock=clock)
    merger.put(batch(EVENTS, 10))
    assert given(merger, TopicPartition(NOTES, 0)) == []
    clock.now = 20.0
    assert given(merger) == [(EVENTS, [10])]
    merger.put(batch(EVENTS, 11))
    clock.now = 40.0
    assert given(merger, TopicPartition(NOTES, 0)) == []
