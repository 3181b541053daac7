"""Only records of the current epoch are delivered: from its start offsets on, once and in order."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers import aiokafka as driver

from stream.exactly_once.driver.transport import BatchConsumer, BatchConsumerThread, FetchLimits, busy_fetch
from stream.exactly_once.units.merging import TopicMerger
from stream.exactly_once.units.records import Epoch, RecordBatch, TopicPartition
from tests.support.running_engine import EVENTS, NOTES, Record

TP = TopicPartition(EVENTS, 0)
NOTE = TopicPartition(NOTES, 0)
OTHER = TopicPartition(EVENTS, 1)
EPOCH = Epoch(3, "member")


class Consumer(BatchConsumer):
    """The consumer without Faust. It collects the delivered batches in a list."""

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


async def test_nothing_is_delivered_before_the_epochs_start_offsets() -> None:
    consumer = Consumer()
    await consumer.deliver(0, 1)
    assert consumer.batches == []
    await consumer.start_from(EPOCH, {TP: 1})
    assert consumer.sought == [{TP: 1}]
    await consumer.deliver(0, 1, 2)
    assert consumer.spans == [(1, [1, 2], 3)]


async def test_batches_are_contiguous_despite_offset_gaps() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 5})
    for offsets in ([7, 8], [12], [13, 20]):
        await consumer.deliver(*offsets)
    assert consumer.spans == [(5, [7, 8], 9), (9, [12], 13), (13, [13, 20], 21)]


async def test_delivered_records_are_not_delivered_again_after_a_seek() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0})
    await consumer.deliver(0, 1, 2)
    await consumer.deliver(1, 2)
    await consumer.deliver(0, 1, 2, 3)
    assert consumer.spans == [(0, [0, 1, 2], 3), (3, [3], 4)]


async def test_records_of_other_epochs_and_topics_are_skipped() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0})
    await consumer.deliver(0, epoch=Epoch(3, "member"))  # equal, but another membership
    await consumer.deliver(0, where=TopicPartition("t.changelog", 0))
    await consumer.deliver(0, where=TopicPartition(EVENTS, 1))  # a partition that is not assigned
    consumer.flow_active = False
    await consumer.deliver(0)
    assert consumer.batches == []


async def test_partitions_of_a_poll_are_ordered_by_time_then_topic() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0, NOTE: 0, OTHER: 0})
    times = {NOTE: 20, OTHER: 10, TP: 20}
    await consumer._deliver({tp: [Record(*tp, 0, b"", timestamp=time)] for tp, time in times.items()}, EPOCH)
    assert [(batch.topic, batch.partition) for batch in consumer.batches] == [OTHER, TP, NOTE]


async def test_a_topic_waits_unfetched_for_one_that_is_behind() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0, NOTE: 0})
    consumer.behind = {NOTE}
    await consumer.deliver(0, 1)
    assert consumer.batches == []
    assert consumer._to_fetch() == {NOTE, OTHER}
    await consumer.deliver(7, where=NOTE)
    assert [batch.topic for batch in consumer.batches] == [EVENTS, NOTES]
    assert consumer._to_fetch() == {TP, NOTE, OTHER}


async def test_a_full_buffer_fetches_the_awaited_topic_first() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0, NOTE: 0})
    consumer.behind = {NOTE}
    await consumer.deliver(0, 1, 2, 3)
    assert consumer._to_fetch() == {NOTE}
    consumer._poll_was_empty = True
    assert consumer._to_fetch() == {NOTE, OTHER}


async def test_a_paused_partition_with_a_full_buffer_blocks_no_other() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0, NOTE: 0})
    consumer.behind = {NOTE}
    await consumer.deliver(0, 1, 2, 3)
    consumer.app.paused_partitions = {0: "a schema"}
    assert consumer._to_fetch() == {OTHER}


async def test_a_new_epoch_discards_records_buffered_for_another_topic() -> None:
    consumer = Consumer()
    await consumer.start_from(EPOCH, {TP: 0, NOTE: 0})
    consumer.behind = {NOTE}
    await consumer.deliver(0, 1)
    await consumer.start_from(EPOCH, {TP: 1, NOTE: 0})
    consumer.behind = set()
    await consumer.deliver(0, 1)
    assert consumer.spans == [(1, [1], 2)]


def thread_with(*, position: int | None, stable: int | None, high: int | None = None) -> BatchConsumerThread:
    """Return a consumer thread with this position and these ends of one partition, as of the last fetch."""
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
        (7, 7, 9, True),  # an open transaction lies beyond
        (6, 7, 7, False),
        (7, None, 7, True),  # the broker reports no stable offset
        (0, None, None, False),  # nothing was fetched yet
        (None, 7, 7, False),
    ],
)
def test_a_partition_ends_at_its_last_stable_offset(
    position: int | None, stable: int | None, high: int | None, at_end: bool
) -> None:
    thread = thread_with(position=position, stable=stable, high=high)
    assert thread.is_at_end(TP) is at_end


def test_a_partition_of_another_worker_is_not_waited_for() -> None:
    assert thread_with(position=0, stable=7).is_at_end(NOTE)


async def test_keep_membership_resets_the_fetchers_idle_time() -> None:
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
    """Fetch through the consumer's thread. The epoch begins while the answer is on its way."""
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
    return await thread._fetch_records(SimpleNamespace(_fetcher=SimpleNamespace()), set())


async def test_records_belong_to_the_epoch_of_their_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await fetch(monkeypatch, {TP: []}) == ({TP: []}, EPOCH)


async def test_records_fetched_before_the_seek_belong_to_no_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await fetch(monkeypatch, {TP: []}, sought=Epoch(2, "member")) == ({TP: []}, None)


@pytest.mark.parametrize(("commit_s", "wait_ms"), [(0.0, 5), (0.001, 5), (0.02, 20), (0.05, 50), (60.0, 50)])
def test_a_fetch_waits_as_long_as_a_commit_within_bounds(commit_s: float, wait_ms: int) -> None:
    assert busy_fetch(commit_s).max_wait_ms == wait_ms


def test_a_fetch_after_an_empty_poll_waits_for_the_first_record() -> None:
    consumer = Consumer()
    consumer.app.engine.stats = SimpleNamespace(commit_s=0.02)
    assert consumer._fetch_limits() == FetchLimits(65_536, 20)
    consumer._poll_was_empty = True
    assert consumer._fetch_limits() == FetchLimits(1, 100)


async def test_each_fetch_uses_the_newest_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetched(*_args: Any) -> dict[Any, Any]:
        return {"limits": [fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms]}

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetched)
    client = SimpleNamespace(_loop=asyncio.get_running_loop(), _metadata_max_age_ms=1000)
    thread = BatchConsumerThread.__new__(BatchConsumerThread)
    thread.consumer = SimpleNamespace(epoch=EPOCH)
    monkeypatch.setattr(Fetcher, "_fetch_requests_routine", Consumer().suspend_flow.wait)
    fetcher = Fetcher(client, SubscriptionState(), fetch_min_bytes=2, fetch_max_wait_ms=50)
    assert (fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms) == (2, 50)
    try:
        for limits in (FetchLimits(1, 7), FetchLimits(900, 30)):
            thread.fetch_limits = limits
            found, _epoch = await thread._fetch_records(SimpleNamespace(_fetcher=fetcher), set())
            assert dict(found) == {"limits": list(limits)}
    finally:
        await fetcher.close()


async def test_a_seek_of_a_past_epoch_does_nothing() -> None:
    thread = BatchConsumerThread.__new__(BatchConsumerThread)
    thread.consumer = SimpleNamespace(epoch=EPOCH)
    # The thread has no client: a seek would fail.
    await thread._seek_all(Epoch(EPOCH.generation - 1, "member"), {TP: 7})
    assert thread._sought is None


async def test_a_partition_without_a_start_offset_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await fetch(monkeypatch, NoOffsetForPartitionError(TP)) == ({}, EPOCH)


async def test_an_offset_outside_the_log_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OffsetOutOfRangeError):
        await fetch(monkeypatch, OffsetOutOfRangeError(TP))
