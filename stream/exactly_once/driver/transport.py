"""Faust's aiokafka transport, with one message per batch of records of a partition."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import aiokafka
from aiokafka.errors import NoOffsetForPartitionError
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage

from stream.exactly_once.units.merging import TopicMerger
from stream.exactly_once.units.records import Epoch, RecordBatch, TopicPartition

_POLL_S = 1.0
_WAITING_POLL_S = 0.05  # while buffered records wait for those of another topic
_MIN_FETCH_WAIT_MS, _MAX_FETCH_WAIT_MS = 5, 50


class FetchLimits(NamedTuple):
    """A broker answers a fetch when it has min_bytes, or after max_wait_ms with what it has."""

    min_bytes: int
    max_wait_ms: int


# A broker gets one fetch at a time. While it waits for records of idle partitions, busy ones wait too.
IDLE_FETCH = FetchLimits(1, 100)


def busy_fetch(commit_s: float) -> FetchLimits:
    """Return the limits of a fetch while records arrive. commit_s: the usual duration of a commit.

    Commits are serial, so records that arrive during one are not committed sooner if they are fetched at once. Many
    small fetches cost most of the event loop's time.
    """
    wait_ms = min(_MAX_FETCH_WAIT_MS, max(_MIN_FETCH_WAIT_MS, round(commit_s * 1000)))
    return FetchLimits(65_536, wait_ms)


class _EpochListener(driver.ConsumerRebalanceListener):  # type: ignore[misc]
    """Captures generation and member id at assignment."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        coordinator = self._thread._ensure_consumer()._coordinator
        self._thread.consumer.epoch = Epoch(coordinator.generation, coordinator.member_id)
        await super().on_partitions_assigned(assigned)


class BatchConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread that owns the aiokafka consumer."""

    _sought: Epoch | None = None  # the newest epoch whose start offsets were sought
    fetch_limits: FetchLimits = IDLE_FETCH
    """The limits of the next fetch requests."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        self._assignor = self.app.assignor  # assigns a partition number of all input topics to one worker
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            # The engine seeks every partition to a checked offset; a missing position is an error.
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_min_bytes=IDLE_FETCH.min_bytes,
            fetch_max_wait_ms=IDLE_FETCH.max_wait_ms,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            check_crcs=conf.broker_check_crcs,
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            **driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[Any],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> tuple[Mapping[Any, list[Any]], Epoch | None]:
        fetcher = consumer._fetcher
        fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = self.fetch_limits
        try:
            records = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        except NoOffsetForPartitionError:  # assigned during this call, and the engine has not sought it yet
            records = {}
        # There is no await between aiokafka's check of its assignment and this line.
        epoch = self.consumer.epoch
        # Before its epoch's seek, records may have been skipped; records after them must not be delivered.
        return records, epoch if epoch is self._sought else None

    def positions(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return (position, last stable offset) of the assigned partitions that have a position.

        Before the first fetch the last stable offset is unknown, and the position is returned in its place.
        """
        if self._consumer is None:
            return {}
        known = {}
        for tp in self._consumer.assignment():
            state = self._consumer._subscription.subscription.assignment.state_value(tp)
            if state is not None and (position := state._position) is not None:
                stable = position if state.lso is None else state.lso
                known[TopicPartition(tp.topic, tp.partition)] = (position, stable)
        return known

    def is_at_end(self, where: TopicPartition) -> bool:
        """Return whether all stable records, as of the newest fetch, were returned; False before the first fetch."""
        if self._consumer is None:
            return True
        assigned = self._consumer._subscription.subscription
        state = None if assigned is None else assigned.assignment.state_value(where)
        if state is None:  # not assigned to this worker
            return True
        end = state.highwater if state.lso is None else state.lso
        return end is not None and state._position is not None and state._position >= end

    async def seek_all(self, epoch: Epoch, offsets: Mapping[TopicPartition, int]) -> None:
        """Seek every assigned partition, including to offset 0, which Faust's own seek skips."""
        await self.call_thread(self._seek_all, epoch, offsets)

    def rejoin(self) -> None:
        """Make aiokafka rejoin the group on its own thread; returns at once."""
        coordinator = self._ensure_consumer()._coordinator
        self.thread_loop.call_soon_threadsafe(coordinator.request_rejoin)

    def keep_membership(self) -> None:
        """Reset aiokafka's poll timer, as a poll would; returns at once.

        aiokafka leaves the group after max_poll_interval_ms without a poll, and a recovery does not poll.
        """
        self.thread_loop.call_soon_threadsafe(self._note_poll)

    def _note_poll(self) -> None:
        with self._ensure_consumer()._subscription.fetch_context():
            pass

    async def _seek_all(self, epoch: Epoch, offsets: Mapping[TopicPartition, int]) -> None:
        # Another rebalance has happened meanwhile, and the seek of its epoch follows.
        if self.consumer.epoch is not epoch:
            return
        consumer = self._ensure_consumer()
        for tp in consumer.assignment():
            consumer.seek(tp, offsets.get(TopicPartition(tp.topic, tp.partition), 0))
        self._sought = epoch


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """Delivers one `RecordBatch` per message and commits no offsets itself."""

    RebalanceListener = _EpochListener

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch: Epoch | None = None
        self._delivered: dict[TopicPartition, int] = {}
        config = self.app.config
        self._max_buffered = config.max_poll_records
        self._poll_was_empty = False
        self._merger = TopicMerger(
            config.input_topics, slack_ms=config.topic_slack_ms, patience_s=config.topic_patience_s
        )

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def start_from(self, epoch: Epoch, offsets: Mapping[TopicPartition, int]) -> None:
        """Seek every input partition and deliver from there, unless the group has moved on."""
        self._delivered = dict(offsets)
        self._merger.clear()
        await self._thread.seek_all(epoch, offsets)

    def rejoin(self) -> None:
        """Rejoin the group, as after the loss of a member; returns at once."""
        self._thread.rejoin()

    def keep_membership(self) -> None:
        """Stay in the group although nothing is polled; returns at once."""
        self._thread.keep_membership()

    def positions(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return (position, last stable offset) of the assigned partitions."""
        known: dict[TopicPartition, tuple[int, int]] = self._thread.positions()
        return known

    async def commit(self, *_args: Any, **_kwargs: Any) -> bool:
        """Do nothing: offsets are committed in the unit's transaction."""
        return False

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: the engine monitors progress itself, by commits."""

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow)
                    continue
                if await self._wait_for_room():
                    continue
                active = self._to_fetch()
                if not active:
                    await asyncio.sleep(_POLL_S / 20)
                    continue
                self._thread.fetch_limits = self._fetch_limits()
                wait_s = _WAITING_POLL_S if self._merger.waited_for else _POLL_S
                began = time.monotonic()
                records, epoch = await self._thread.getmany(active, wait_s)
                self._poll_was_empty = not records
                self._merger.count_poll(active, records.keys(), time.monotonic() - began)
                if epoch is not None:
                    await self._deliver(records, epoch)
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        except Exception as exc:
            if not self.app.should_stop:
                await self.app.engine.fail(exc)
                raise

    async def _wait_for_room(self) -> bool:
        room = self.app.engine.room
        if room.is_set():
            return False
        await self.wait_first(room.wait(), self.suspend_flow.wait())
        return True

    def _fetch_limits(self) -> FetchLimits:
        return IDLE_FETCH if self._poll_was_empty else busy_fetch(self.app.engine.stats.commit_s)

    def _to_fetch(self) -> set[Any]:
        """Return the partitions to fetch: neither paused nor buffered.

        When many records are buffered, only the partitions that others wait for, since records of the rest may only
        add to the buffer. If those return no records, the rest is fetched as well.
        """
        kept, paused = self._merger.buffered, self.app.paused_partitions
        active = {tp for tp in self._get_active_partitions() if tp.partition not in paused and tp not in kept}
        if self._merger.records < self._max_buffered or self._poll_was_empty:
            return active
        return active & self._merger.waited_for or active

    async def _deliver(self, records: Mapping[Any, list[Any]], epoch: Epoch) -> None:
        if epoch is not self.epoch or not self.flow_active:
            return
        for tp, found in records.items():
            self._buffer(TopicPartition(tp.topic, tp.partition), found, epoch)
        for batch in self._merger.ready(self._thread.is_at_end, self.app.paused_partitions):
            if not self.flow_active:
                return
            tp = TopicPartition(batch.topic, batch.partition)
            await self.wait_first(self.callback(self._batch_message(tp, batch)), self.suspend_flow.wait())

    def _buffer(self, where: TopicPartition, found: list[Any], epoch: Epoch) -> None:
        """Put records that were not delivered yet into the merger."""
        base = self._delivered.get(where)
        if base is None or where.topic not in self.app.engine.input_topics:
            return  # not started yet; the seek that starts it makes these records fetched again
        if found and found[0].offset < base:
            found = [record for record in found if record.offset >= base]
        if not found:
            return
        end = found[-1].offset + 1
        self._delivered[where] = end
        self._merger.put(RecordBatch(where.topic, where.partition, found, base, end, epoch))

    def _batch_message(self, tp: Any, batch: RecordBatch) -> ConsumerMessage:
        return ConsumerMessage(
            batch.topic,
            batch.partition,
            batch.next - 1,
            batch.records[-1].timestamp / 1000.0,
            0,
            [],
            None,
            batch,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )


class BatchTransport(driver.Transport):  # type: ignore[misc]
    """Faust's Kafka transport with the batched consumer."""

    Consumer = BatchConsumer
