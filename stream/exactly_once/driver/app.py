"""The Faust app: connects agents, tables, rebalancing and timers of Faust to the engine."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import faust
from confluent_kafka import KafkaException
from yarl import URL

from stream.exactly_once.driver.ending import EndingWorker
from stream.exactly_once.driver.engine import Engine, UnitLimits
from stream.exactly_once.driver.intake import Intake, PausedPartition
from stream.exactly_once.driver.table import ExactlyOnceTableManager, LayeredTable
from stream.exactly_once.driver.transport import BatchTransport
from stream.exactly_once.kafka.ends import InputEnds
from stream.exactly_once.kafka.offsets import OffsetPolicy, OffsetReset
from stream.exactly_once.kafka.recovery import RecoveryPlan
from stream.exactly_once.kafka.store import StateFolder, StoreMemory
from stream.exactly_once.kafka.topics import TopicIds, ensure_changelogs
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.errors import StartError, StateFormatError, TopicGoneError
from stream.exactly_once.units.processor import Processor, Scorer
from stream.exactly_once.units.records import Epoch, TopicPartition
from stream.exactly_once.units.unit import Unit

logger = logging.getLogger(__name__)
V = TypeVar("V")

_EXIT_GRACE_S = 5.0  # after a failure, for logging and Faust's own shutdown
_TOPIC_CHECK_INTERVAL_S = 10.0
_RETRY_INTERVAL_S = 1.0
_ENDS_INTERVAL_S = 5.0  # longer than the timeout of such a request
_EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h


@dataclass(frozen=True, slots=True)
class ExactlyOnceConfig:
    """Settings of the app in addition to Faust's own.

    input_topics must have the same partition count. Partition p of all input topics is processed by one worker in one
    order: by record timestamp within topic_slack_ms, at equal timestamps in the order of input_topics. If a topic has
    no fetched records but its broker has more, the worker waits for them for at most topic_patience_s.
    client_config holds connection settings with librdkafka's names.
    """

    input_topics: Sequence[str]
    state_dir: Path
    client_config: Mapping[str, str]
    slot: str | None = None
    offset_reset: OffsetReset = "earliest"
    lost_offset_reset: OffsetReset = "error"
    unit_max_records: int = 512
    unit_max_bytes: int = 8 * 1024 * 1024
    unit_linger_s: float = 0.02
    max_in_flight_records: int = 8192
    max_in_flight_bytes: int = 64 * 1024 * 1024
    max_poll_records: int = 2048
    topic_slack_ms: int = 1000
    topic_patience_s: float = 30.0
    transaction_timeout_s: float = 10.0
    connect_timeout_s: float = 10.0
    max_record_bytes: int = 1_000_000
    max_store_memory_bytes: int = 128 * 1024 * 1024  # shared by all stores
    drop_unused_stores_after_s: float = 0.0  # of partitions no longer assigned to this worker; 0: never
    changelog_replication: int | None = None  # None: the number of brokers, at most 3
    faust_options: Mapping[str, Any] = field(default_factory=dict)


def _drop_state_format_trace(record: logging.LogRecord) -> bool:
    """Drop Faust's traceback of a StateFormatError, which the engine has already logged in one line."""
    args = record.args
    return not (isinstance(args, tuple) and any(isinstance(one, StateFormatError) for one in args))


class _BatchSchema(faust.Schema):  # type: ignore[misc]
    """Passes the `RecordBatch` on undecoded; the processor decodes, so a bad record affects no other."""

    def compile(self, app: faust.App, **_kwargs: Any) -> Callable[..., Any]:
        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001
            return app.create_event(None, message.value, {}, message)

        return decode


class ExactlyOnceApp(faust.App):  # type: ignore[misc]
    """A Faust app that processes its input topics in batches, each record exactly once.

    Before the worker starts, declare tables with `layered_table` and pass the logic to `process_with`. No other agent
    may consume the input topics.
    """

    def __init__(self, app_id: str, config: ExactlyOnceConfig, **options: Any) -> None:
        self.config = config
        self._layered: list[LayeredTable[Any]] = []
        self._processor: Processor | None = None
        self._scorer: Scorer | None = None
        self._writer_type = TransactionWriter
        self._engine: Engine | None = None
        self._intake: Intake | None = None
        super().__init__(
            app_id,
            **{
                "broker": f"kafka://{config.client_config['bootstrap.servers'].replace(',', ';')}",
                "store": "memory://",
                "TableManager": ExactlyOnceTableManager,
                "Worker": EndingWorker,
                "table_standby_replicas": 0,
                "stream_wait_empty": False,
                "stream_buffer_maxsize": 16,
                "broker_max_poll_records": config.max_poll_records,
                "topic_disable_leader": True,
                "datadir": str(config.state_dir / "faust"),
                **config.faust_options,
                **options,
            },
        )

    def layered_table(
        self, name: str, *, dumps: Callable[[V], bytes], loads: Callable[[bytes], V], **options: Any
    ) -> LayeredTable[V]:
        """Declare a table that is written through commit units."""
        table: LayeredTable[V] = LayeredTable(self, name=name, dumps=dumps, loads=loads, **options)
        self._layered.append(table)
        self.tables.add(table)
        return table

    def changelog_topic(self, table: str) -> str:
        """Return the name of a table's changelog topic, as Faust forms it."""
        return f"{self.conf.id}-{table}-changelog"

    def process_with(self, processor: Processor, scorer: Scorer | None = None) -> None:
        """Set the program's logic and create the agent that reads all input topics."""
        self._processor = processor
        self._scorer = scorer
        intake = self._intake = Intake(processor, lambda batch: self.engine.take(batch))
        topic = self.topic(*self.config.input_topics, schema=_BatchSchema(), acks=False)

        async def read_batches(stream: Any) -> None:
            async for batch in stream:
                try:
                    await intake.put(batch)
                # Otherwise Faust's supervisor restarts the agent and skips the batch.
                except Exception as exc:
                    await self.engine.fail(exc)
                    return

        self.agent(topic, name="exactly_once")(read_batches)

    # --- Faust's lifecycle --------------------------------------------------------------------------------

    async def on_first_start(self) -> None:
        """Open the state folder, check the topics and fence an earlier instance, before anything is consumed."""
        if self._engine is None:
            await asyncio.get_running_loop().run_in_executor(None, self.open)
        self.engine.start()
        self.timer(_TOPIC_CHECK_INTERVAL_S, name="topics")(self._check_topics)
        self.timer(_RETRY_INTERVAL_S, name="paused")(self._retry_paused)
        self.timer(_ENDS_INTERVAL_S, name="ends")(self._fetch_ends)
        await super().on_first_start()

    async def _check_topics(self) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, self._topic_ids.fetch)
        except TopicGoneError as exc:
            await self.engine.fail(exc)
        except (KafkaException, TimeoutError):
            return  # no broker answers; the consumer and the producer detect that themselves
        else:
            await self.engine.check_topics(found)

    async def _retry_paused(self) -> None:
        if self._intake is None or not self._intake.paused_partitions:
            return
        self.keep_membership()  # nothing is polled while every partition is paused
        try:
            await self._intake.retry()
        except Exception as exc:  # as in the agent
            await self.engine.fail(exc)

    @property
    def paused_partitions(self) -> Mapping[int, PausedPartition]:
        """The paused input partitions, by number."""
        return {} if self._intake is None else self._intake.paused_partitions

    async def _fetch_ends(self) -> None:
        """List the end offsets of the inputs; without an answer the last known ones remain."""
        inputs = [tp for tp in self.consumer.positions() if tp.topic in self.engine.input_topics]
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, self._ends.fetch, inputs)
        except KafkaException:
            return
        self.engine.input_lag.update(found)

    async def on_started(self) -> None:
        """Start the timers now. Faust starts them after the first recovery, which would then be unmonitored."""
        await super().on_started_init_extra_tasks()
        await super().on_started()

    async def on_started_init_extra_tasks(self) -> None:
        """Do nothing: the timers are already running."""

    def open(self) -> None:
        """Open the state folder, check the topics and take the transactional id. Called at Faust's start if necessary.

        Raises StartError. Before Faust's start that is an ordinary exception, not a crash of the app.
        """
        self._engine = self._build_engine()

    @property
    def failure(self) -> BaseException | None:
        """The reason why the worker failed; None if it is running or was stopped by a signal."""
        return None if self._engine is None else self._engine.failure

    @property
    def engine(self) -> Engine:
        """The engine. Raises StartError before the app's first start."""
        if self._engine is None:
            raise StartError("The engine does not exist before the worker has started")
        return self._engine

    async def stop_engine(self) -> None:
        """Commit ready units and close everything, if the engine was started."""
        if self._engine is not None:
            await self._engine.stop()

    def _build_engine(self) -> Engine:
        config = self.config
        if self._processor is None:
            raise ValueError("ExactlyOnceApp has no processor: call process_with before the worker starts")
        folder = StateFolder(
            config.state_dir,
            StoreMemory(config.max_store_memory_bytes),
            drop_unused_after_s=config.drop_unused_stores_after_s,
        )
        slot = folder.open(config.slot)
        changelogs = ensure_changelogs(
            config.client_config,
            config.input_topics,
            {table.name: self.changelog_topic(table.name) for table in self._layered},
            replication=config.changelog_replication,
            timeout_s=config.connect_timeout_s,
        )
        topics = [*config.input_topics, *(changelog.topic for changelog in changelogs)]
        self._topic_ids = TopicIds(config.client_config, topics)
        self._ends = InputEnds(config.client_config)
        writer = self._writer_type(
            config.client_config,
            f"{self.conf.id}-{slot}",
            transaction_timeout_s=config.transaction_timeout_s,
            max_record_bytes=config.max_record_bytes,
        )
        writer.init(config.connect_timeout_s)
        limits = UnitLimits(
            max_records=config.unit_max_records,
            max_bytes=config.unit_max_bytes,
            linger_s=config.unit_linger_s,
            max_in_flight_records=config.max_in_flight_records,
            max_in_flight_bytes=config.max_in_flight_bytes,
            revoke_timeout_s=self.conf.broker_rebalance_timeout / 2,
        )
        return Engine(
            self,
            plan=RecoveryPlan(
                config.client_config,
                self.conf.id,
                config.input_topics,
                changelogs,
                OffsetPolicy(config.offset_reset, config.lost_offset_reset),
                self._topic_ids.wait,
            ),
            limits=limits,
            tables=self._layered,
            folder=folder,
            writer=writer,
            processor=self._processor,
            scorer=self._scorer,
            group_instance_id=self.conf.consumer_group_instance_id,
            on_commit=self.on_unit_committed,
        )

    def on_unit_committed(self, unit: Unit, seconds: float) -> None:
        """Called after each commit, for metrics. seconds: duration of finish, transaction and local write."""

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    async def _on_partitions_revoked(self, revoked: set[Any]) -> None:
        self._begin_intake(None)
        await self.engine.revoke()
        await super()._on_partitions_revoked(revoked)

    def consumer_epoch(self) -> Epoch | None:
        """Return the epoch captured at the last assignment."""
        epoch: Epoch | None = self.consumer.epoch
        return epoch

    async def resume_delivery(self, epoch: Epoch, starts: Mapping[TopicPartition, int]) -> None:
        """Finish the rebalance as Faust's own recovery does: seek, resume, and signal completion."""
        consumer = self.consumer
        await self.on_rebalance_complete.send()
        self._begin_intake(epoch)
        await consumer.start_from(epoch, starts)
        consumer.resume_partitions(consumer.assignment())
        self.flow_control.resume()
        consumer.resume_flow()
        await self._fetcher.maybe_start()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        self.on_rebalance_end()

    def _begin_intake(self, epoch: Epoch | None) -> None:
        if self._intake is not None:
            self._intake.begin(epoch)

    def rejoin(self) -> None:
        """Make the consumer rejoin its group; returns at once."""
        self.consumer.rejoin()

    def keep_membership(self) -> None:
        """Keep the consumer in its group although nothing is polled; returns at once."""
        self.consumer.keep_membership()

    async def crash(self, reason: BaseException) -> None:
        """End the process; a StateFormatError is logged without a traceback."""
        if isinstance(reason, StateFormatError):
            self.log.logger.addFilter(_drop_state_format_trace)
        await super().crash(reason)

    def _crash(self, reason: BaseException) -> None:
        """End the process by Faust's shutdown, or forcibly after _EXIT_GRACE_S.

        Faust calls this for a failure of the app or of any of its services.
        """
        if not self.crashed:
            timer = threading.Timer(_EXIT_GRACE_S, os._exit, [_EXIT_CODE])
            timer.daemon = True
            timer.start()
        super()._crash(reason)

    @property
    def broker_urls(self) -> list[URL]:
        """The URLs of the brokers."""
        return list(self.conf.broker)
