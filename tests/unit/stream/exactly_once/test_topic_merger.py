"""When a topic waits for another one, and when it continues without it."""

import logging

import pytest

from stream.exactly_once.units.merging import TopicMerger
from stream.exactly_once.units.records import Epoch, RecordBatch, TopicPartition
from tests.support.running_engine import Record

EVENTS, NOTES = "events", "notes"
EPOCH = Epoch(1, "member")


def batch(topic: str, *times: int, partition: int = 0) -> RecordBatch:
    records = [Record(topic, partition, offset, b"", timestamp=at) for offset, at in enumerate(times)]
    return RecordBatch(topic, partition, records, 0, len(records), EPOCH)


def ready_batches(merger: TopicMerger, *behind: TopicPartition) -> list[tuple[str, list[int]]]:
    """Return the ready batches while the partitions `behind` have more records on their brokers."""
    ready = merger.ready(lambda where: where not in behind)
    return [(found.topic, [record.timestamp for record in found.records]) for found in ready]


def test_a_long_batch_is_cut_to_keep_time_order() -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10, 20, 26, 40))
    merger.put(batch(NOTES, 21))
    assert ready_batches(merger) == [(EVENTS, [10, 20, 26]), (NOTES, [21]), (EVENTS, [40])]


def test_a_topic_with_more_records_is_waited_for() -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10))
    assert ready_batches(merger, TopicPartition(NOTES, 0)) == []
    assert merger.waited_for == {TopicPartition(NOTES, 0)}
    assert ready_batches(merger) == [(EVENTS, [10])]
    assert merger.waited_for == set()


def test_other_partitions_continue_while_one_waits() -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10))
    merger.put(batch(EVENTS, 20, partition=1))
    assert ready_batches(merger, TopicPartition(NOTES, 0)) == [(EVENTS, [20])]


def test_a_clock_ahead_delays_nothing_after_catching_up() -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10**12))
    merger.put(batch(NOTES, 10, 20))
    assert ready_batches(merger) == [(NOTES, [10, 20]), (EVENTS, [10**12])]


NOTES_0 = TopicPartition(NOTES, 0)


def test_a_silent_topic_is_skipped_until_its_next_record(caplog: pytest.LogCaptureFixture) -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10))
    assert ready_batches(merger, NOTES_0) == []
    merger.count_poll([NOTES_0], [], 29.0)
    assert ready_batches(merger, NOTES_0) == []
    with caplog.at_level(logging.WARNING):
        merger.count_poll([NOTES_0], [], 2.0)
    assert ready_batches(merger, NOTES_0) == [(EVENTS, [10])]
    assert caplog.messages == [
        "notes[0] returned no record in 31 s of polling although its broker has more. The other topics of partition 0 "
        "are processed without it, so records of the same time may be processed in another order."
    ]
    merger.put(batch(EVENTS, 20))
    assert ready_batches(merger, NOTES_0) == [(EVENTS, [20])]
    merger.put(batch(NOTES, 25))
    merger.put(batch(EVENTS, 30))
    assert ready_batches(merger, NOTES_0) == [(NOTES, [25])]
    assert merger.waited_for == {NOTES_0}


def test_a_long_catch_up_keeps_the_order() -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=0, patience_s=30)
    merger.put(batch(EVENTS, *range(0, 1_000, 10)))
    for at in range(5, 1_000, 10):
        merger.put(batch(NOTES, at))
        assert ready_batches(merger, NOTES_0) == [(EVENTS, [at - 5]), (NOTES, [at])]
        merger.count_poll([NOTES_0], [], 20.0)


def test_time_without_polls_for_the_missing_topic_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10))
    assert ready_batches(merger, NOTES_0) == []
    merger.count_poll([TopicPartition(EVENTS, 1)], [], 1_000.0)
    merger.count_poll([NOTES_0], [NOTES_0], 1_000.0)
    assert ready_batches(merger, NOTES_0) == []
    assert not caplog.messages


def test_a_paused_partition_yields_nothing_and_waits_for_nothing() -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    merger.put(batch(EVENTS, 10))
    merger.put(batch(EVENTS, 20, partition=1))
    ready = merger.ready(lambda where: where != NOTES_0, paused={0})
    assert [found.partition for found in ready] == [1]
    assert merger.waited_for == set()
    assert ready_batches(merger) == [(EVENTS, [10])]


def test_silence_does_not_add_up_across_ends(caplog: pytest.LogCaptureFixture) -> None:
    merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
    for at in (10, 20, 30):
        merger.put(batch(EVENTS, at))
        assert ready_batches(merger, NOTES_0) == []
        merger.count_poll([NOTES_0], [], 29.0)
        assert ready_batches(merger) == [(EVENTS, [at])]
    assert not caplog.messages
