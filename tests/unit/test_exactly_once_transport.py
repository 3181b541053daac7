"""What of the fetched records is delivered: those of this epoch, from its start on, each once and in order."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers import aiokafka as driver

from stream.exactly_once.driver.transport import BatchConsumer, BatchConsumerThread
from stream.exactly_once.units.merging import TopicMerger
from stream.exactly_once.units.records import Epoch, RecordBatch, TopicPartition
from tests.support.running_engine import EVENTS, NOTES, Record

TP = TopicPartition(EVENTS, 0)
NOTE = TopicPartition(NOTES, 0)
OTHER = TopicPartition(EVENTS, 1)
EPOCH = Epoch(3, "member")


class Consumer(BatchConsumer):
    """Faust's consumer without Faust: what it delivers goes into a list."""

    def __init__(self) -> None:
        self.app = SimpleNamespace(
            engine=SimpleNamespace(input_topics={EVENTS, NOTES}),
            config=SimpleNamespace(input_topics=[EVENTS, NOTES]),
            paused_partitions={},
            consumer_generation_id=3,
        )
        self.epoch = EPOCH
        self.flow_active = True
        self.suspend_flow = asyncio.Event()
        self.sought: list[Any] = []
        self._delivered = {}
        self._merger = TopicMerger([EVENTS, NOTES], slack_ms=5, patience_s=30)
        self._max_buffered = 4
        self._poll_was_empty = False
        self.behind: set[TopicPartition] = set()
        self._thread = SimpleNamespace(
            seek_all=self._seek_all, is_at_end=lambda where: where not in self.behind
        )
        self.batches: list[RecordBatch] = []

    async def _seek_all(self, epoch: Any, offsets: Any) -> None:
        self.sought.append(offsets)

    async def callback(self, message: Any) -> None:
        self.batches.append(message.value)

    async def wait_first(self, *coros: Any) -> None:
        first, *others = coros
        for other in others:
            other.close()
        await first

    async def deliver(self, *offsets: int, where: TopicPartition = TP, epoch: Epoch = EPOCH) -> None:
        await self._deliver({where: [Record(*where, offset, b"") for offset in offsets]}, epoch)

    def _get_active_partitions(self) -> set[Any]:
        return {TP, NOTE, OTHER}

    @property
    def spans(self) -> list[tuple[int, list[int], int]]:
        return [(batch.base, [r.offset for r in batch.records], batch.next) for batch in self.batches]


async def test_nothing_is_delivered_before_the_epoch_has_its_start() -> None:
    consumer = Consumer()
    await consumer.deliver(0, 1)
    assert consumer.batches == []
    await consumer.start_from(EPOCH, {TP: 1})
    assert consumer.sought == [{TP: 1}]
    await consumer.deliver(0, 1, 2)
    assert consumer.spans == [(1, [1, 2], 3)]


async def test_batches_join_without_a_gap_whatever_holes_the_offsets_have() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 5})
    for offsets in ([7, 8], [12], [13, 20]):
        await consumer.deliver(*offsets)
    assert consumer.spans == [(5, [7, 8], 9), (9, [12], 13), (13, [13, 20], 21)]


async def test_what_was_delivered_is_not_delivered_again_wherever_the_client_seeks() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0})
    await consumer.deliver(0, 1, 2)
    await consumer.deliver(1, 2)
    await consumer.deliver(0, 1, 2, 3)
    assert consumer.spans == [(0, [0, 1, 2], 3), (3, [3], 4)]


async def test_records_of_another_epoch_and_of_other_topics_are_passed_over() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0})
    await consumer.deliver(0, epoch=Epoch(3, "member"))  # equal, and not the same stay in the group
    await consumer.deliver(0, where=TopicPartition("t.changelog", 0))
    await consumer.deliver(0, where=TopicPartition(EVENTS, 1))  # a partition that it was not given
    consumer.flow_active = False
    await consumer.deliver(0)
    assert consumer.batches == []


async def test_partitions_of_one_poll_come_by_kafkas_time_and_then_as_the_inputs_are_listed() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0, NOTE: 0, OTHER: 0})
    times = {NOTE: 20, OTHER: 10, TP: 20}
    await consumer._deliver({tp: [Record(*tp, 0, b"", timestamp=time)] for tp, time in times.items()}, EPOCH)
    assert [(batch.topic, batch.partition) for batch in consumer.batches] == [OTHER, TP, NOTE]


async def test_a_topic_waits_for_one_that_is_behind_and_is_not_fetched_meanwhile() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0, NOTE: 0})
    consumer.behind = {NOTE}
    await consumer.deliver(0, 1)
    assert consumer.batches == []
    assert consumer._to_fetch() == {NOTE, OTHER}
    await consumer.deliver(7, where=NOTE)
    assert [batch.topic for batch in consumer.batches] == [EVENTS, NOTES]
    assert consumer._to_fetch() == {TP, NOTE, OTHER}


async def test_with_much_kept_the_topic_that_is_waited_for_is_fetched_first() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0, NOTE: 0})
    consumer.behind = {NOTE}
    await consumer.deliver(0, 1, 2, 3)
    assert consumer._to_fetch() == {NOTE}
    consumer._poll_was_empty = True
    assert consumer._to_fetch() == {NOTE, OTHER}


async def test_a_paused_partition_with_much_kept_does_not_stop_the_others() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0, NOTE: 0})
    consumer.behind = {NOTE}
    await consumer.deliver(0, 1, 2, 3)
    consumer.app.paused_partitions = {0: "a schema"}
    assert consumer._to_fetch() == {OTHER}


async def test_what_is_kept_for_another_topic_is_forgotten_when_an_epoch_begins() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0, NOTE: 0})
    consumer.behind = {NOTE}
    await consumer.deliver(0, 1)
    await consumer.start_from(EPOCH, {TP: 1, NOTE: 0})
    consumer.behind = set()
    await consumer.deliver(0, 1)
    assert consumer.spans == [(1, [1], 2)]


def thread_that_knows(
    *, position: int | None, stable: int | None, high: int | None = None
) -> BatchConsumerThread:
    """The consumer's thread, of which one partition has this position and these ends, as of the newest fetch."""
    state = SimpleNamespace(_position=position, lso=stable, highwater=high)
    assignment = SimpleNamespace(state_value={TP: state}.get)
    thread = BatchConsumerThread.__new__(BatchConsumerThread)
    thread._consumer = SimpleNamespace(
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    )
    return thread


@pytest.mark.parametrize(
    ("position", "stable", "high", "at_end"),
    [
        (7, 7, 9, True),  # what lies beyond is another's open transaction
        (6, 7, 7, False),
        (7, None, 7, True),  # a broker that tells no stable offset
        (0, None, None, False),  # nothing was fetched yet
        (None, 7, 7, False),
    ],
)
def test_a_partition_is_at_its_end_once_all_that_is_stable_was_given_out(
    position: int | None, stable: int | None, high: int | None, at_end: bool
) -> None:
    thread = thread_that_knows(position=position, stable=stable, high=high)
    assert thread.is_at_end(TP) is at_end


def test_a_partition_of_another_worker_is_not_waited_for() -> None:
    assert thread_that_knows(position=0, stable=7).is_at_end(NOTE)


async def test_an_activity_that_is_no_poll_keeps_aiokafka_in_its_group() -> None:
    subscription = SubscriptionState()
    thread = BatchConsumerThread.__new__(BatchConsumerThread)
    thread._consumer = SimpleNamespace(_subscription=subscription)
    thread.thread_loop = asyncio.get_running_loop()
    subscription._last_fetch_ended -= 1000
    assert subscription.fetcher_idle_time > 999
    thread.keep_membership()
    await asyncio.sleep(0)  # it runs on the thread's own loop
    assert subscription.fetcher_idle_time < 500


async def fetch(monkeypatch: pytest.MonkeyPatch, answer: Any, *, sought: Epoch | None = EPOCH) -> Any:
    """Fetch by the consumer's thread, which gets this answer and is in the next epoch after it."""
    consumer = SimpleNamespace(epoch=None)

    async def fetched(*_args: Any) -> Any:
        consumer.epoch = EPOCH
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetched)
    thread = BatchConsumerThread.__new__(BatchConsumerThread)
    thread.consumer = consumer
    thread._sought = sought
    return await thread._fetch_records(None, set())


async def test_records_belong_to_the_epoch_in_which_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await fetch(monkeypatch, {TP: []}) == ({TP: []}, EPOCH)


async def test_records_of_before_the_seek_of_their_epoch_belong_to_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await fetch(monkeypatch, {TP: []}, sought=Epoch(2, "member")) == ({TP: []}, None)


async def test_a_seek_of_an_epoch_that_is_over_moves_nothing() -> None:
    thread = BatchConsumerThread.__new__(BatchConsumerThread)
    thread.consumer = SimpleNamespace(epoch=EPOCH)
    await thread._seek_all(
        Epoch(EPOCH.generation - 1, "member"), {TP: 7}
    )  # there is no client that it could ask
    assert thread._sought is None


async def test_a_partition_that_has_no_start_yet_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await fetch(monkeypatch, NoOffsetForPartitionError(TP)) == ({}, EPOCH)


async def test_an_offset_that_has_left_the_log_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OffsetOutOfRangeError):
        await fetch(monkeypatch, OffsetOutOfRangeError(TP))
