"""Processes units in order: read on the event loop, scored elsewhere, committed on one thread.

Lifecycle of an epoch: `begin_epoch` recovers its partitions on a thread and starts delivery; `take` reads batches
into units; `_commit_units` commits them in order; `revoke` stops intake, commits ready units within a time limit, and
drops the rest, which the next epoch reads again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stream.exactly_once.driver.committing import UnitCommitter
from stream.exactly_once.kafka.offsets import Cancelled
from stream.exactly_once.kafka.recovery import Recovered, RecoveryPlan, recover
from stream.exactly_once.kafka.store import PartitionStore, StateFolder
from stream.exactly_once.units.errors import (
    FencedError,
    LostBatchError,
    StateFormatError,
    StoreError,
    TopicGoneError,
    TransactionEndedError,
)
from stream.exactly_once.units.lag import InputLag, Lag
from stream.exactly_once.units.processor import Processor, Scorer
from stream.exactly_once.units.progress import RecoveryProgress
from stream.exactly_once.units.records import Epoch, RecordBatch, TopicPartition, size_of
from stream.exactly_once.units.topic_ids import encode_topic_ids
from stream.exactly_once.units.unit import Unit, count_fitting, split

if TYPE_CHECKING:
    from stream.exactly_once.driver.table import LayeredTable
    from stream.exactly_once.kafka.transactions import TransactionWriter

logger = logging.getLogger(__name__)

_COMMIT_WEIGHT = 0.2  # of the newest commit in the moving average


@dataclass(frozen=True, slots=True)
class UnitLimits:
    """Limits at which a unit closes, and limits of the data in flight."""

    max_records: int
    max_bytes: int
    linger_s: float
    max_in_flight_records: int
    max_in_flight_bytes: int
    revoke_timeout_s: float


@dataclass(slots=True)
class EngineStats:
    """Figures for metrics; those up to lost_records are counters.

    last_progress: on the monotonic clock, in seconds. commit_s: moving average of the duration of a commit.
    in_flight_records, in_flight_bytes: read and not committed.
    recovery: progress of the newest recovery, running or finished.
    """

    records: int = 0
    units: int = 0
    fenced_units: int = 0
    dropped_records: int = 0
    epochs: int = 0
    recovered_records: int = 0
    recovery_s: float = 0.0
    offset_resets: int = 0
    lost_records: int = 0
    last_progress: float = field(default_factory=time.monotonic)
    commit_s: float = 0.0
    in_flight_records: int = 0
    in_flight_bytes: int = 0
    recovery: RecoveryProgress = field(default_factory=RecoveryProgress)


class Driver(Protocol):
    """The part of Faust that the engine needs; implemented by the app."""

    async def resume_delivery(self, epoch: Epoch, starts: Mapping[TopicPartition, int]) -> None:
        """Seek the inputs and resume delivery for this epoch."""
        ...

    def consumer_epoch(self) -> Epoch | None:
        """Return the epoch captured at the last assignment."""
        ...

    def rejoin(self) -> None:
        """Make the consumer rejoin its group, which ends this epoch and begins another; returns at once."""
        ...

    def keep_membership(self) -> None:
        """Stay in the group although nothing is polled; thread-safe, returns at once."""
        ...

    async def crash(self, reason: BaseException) -> None:
        """End the process."""
        ...


class Engine:
    """Reads, commits and recovers units. Everything but commits and recovery runs on the event loop."""

    def __init__(
        self,
        driver: Driver,
        *,
        plan: RecoveryPlan,
        limits: UnitLimits,
        tables: Sequence["LayeredTable[Any]"],
        folder: StateFolder,
        writer: "TransactionWriter",
        processor: Processor,
        scorer: Scorer | None,
        group_instance_id: str | None = None,
        on_commit: Callable[[Unit, float], None] | None = None,
    ) -> None:
        """on_commit: called on the event loop with each committed unit and the duration of its commit in seconds."""
        self._driver = driver
        self._plan = plan
        self._limits = limits
        self._tables = list(tables)
        self._folder = folder
        self._processor = processor
        self._scorer = scorer
        self._committer = UnitCommitter(plan, self._tables, writer, processor, group_instance_id)
        self._on_commit = on_commit
        self.input_topics = frozenset(plan.input_topics)
        self.stats = EngineStats()
        self.input_lag = InputLag()
        self.failure: BaseException | None = None
        self.ready = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.state = "waiting for partitions"
        self._epoch: Epoch | None = None  # None: take() ignores batches
        # Set from begin_epoch to revoke, so that a recovery detects the end of its epoch.
        self._begun: Epoch | None = None
        self._next: dict[TopicPartition, int] = {}
        self._topic_ids: Mapping[str, str] = {}  # as of the start of the epoch
        self._commit_metadata = ""
        self._stores: dict[int, PartitionStore] = {}
        self._open: Unit | None = None
        # All units that are not committed, oldest first; the open unit is last.
        self._units: deque[Unit] = deque()
        self._numbers = 0
        self._linger: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()  # the commit loop may have something to do
        self._commit_ended = asyncio.Event()  # a commit has ended, or all units were dropped
        self._committing = False
        self._revoking = False  # no further commit may start
        self._commit_thread = ThreadPoolExecutor(1, "commit")
        self._recovery_thread = ThreadPoolExecutor(1, "recovery")
        self._recovery: asyncio.Task[None] | None = None
        self._commit_task: asyncio.Task[None] | None = None

    # --- intake -----------------------------------------------------------------------------------------

    def take(self, batch: RecordBatch) -> None:
        """Read a batch into the open unit, and into further units if it does not fit.

        Batches of another epoch are ignored: the current epoch reads their records again.
        Raises LostBatchError when a preceding batch is missing.
        """
        if self._epoch is None or batch.epoch is not self._epoch:
            return
        where = TopicPartition(batch.topic, batch.partition)
        if batch.base != self._next[where]:
            raise LostBatchError(
                f"{batch.topic}[{batch.partition}]: a batch starts at {batch.base} but delivery had reached "
                f"{self._next[where]}: a batch in between was lost in the worker; nothing after it is committed."
            )
        sizes = [size_of(record) for record in batch.records]
        rest: RecordBatch | None = batch
        while rest is not None:
            unit = self._open or self._open_unit(self._epoch)
            limits = self._limits
            if unit.records and unit.bytes + sizes[0] > limits.max_bytes:
                self._close_unit()  # a record larger than the remaining room goes into an empty unit
                continue
            count = count_fitting(
                rest, sizes, limits.max_records - unit.records, limits.max_bytes - unit.bytes
            )
            part, rest = split(rest, count)
            self._read(part, unit, sum(sizes[:count]))
            self._next[where] = part.next
            sizes = sizes[count:]
            if unit.records >= limits.max_records or unit.bytes >= limits.max_bytes:
                self._close_unit()

    def _read(self, part: RecordBatch, unit: Unit, size_bytes: int) -> None:
        work = self._processor.read(part, unit)
        future = self._scorer.submit(work.jobs) if work.jobs and self._scorer is not None else None
        unit.add_batch(part, work, future, size_bytes)
        self.stats.in_flight_records += len(part.records)
        self.stats.in_flight_bytes += size_bytes
        self._update_room()

    def _open_unit(self, epoch: Epoch) -> Unit:
        self._numbers += 1
        layers = {table.name: table.layers.open() for table in self._tables}
        unit = self._open = Unit(self._numbers, epoch, layers, self._next)
        self._units.append(unit)
        loop = asyncio.get_running_loop()
        self._linger = loop.call_later(self._limits.linger_s, self._close_if_open, unit)
        return unit

    def _close_if_open(self, unit: Unit) -> None:
        if unit is self._open:
            self._close_unit()

    def _close_unit(self) -> None:
        unit = self._open
        if unit is None:
            return
        if self._linger is not None:
            self._linger.cancel()
        # Include inputs from which nothing was read: a partition number has one order and is fenced as a whole.
        for number in unit.partitions:
            for topic in self._plan.input_topics:
                where = TopicPartition(topic, number)
                unit.offsets.setdefault(where, self._next[where])
        unit.closed = True
        self._open = None
        self._work.set()

    def _update_room(self) -> None:
        full = (
            self.stats.in_flight_records >= self._limits.max_in_flight_records
            or self.stats.in_flight_bytes >= self._limits.max_in_flight_bytes
        )
        if full:
            self.room.clear()
        else:
            self.room.set()

    # --- commit -----------------------------------------------------------------------------------------

    async def _commit_units(self) -> None:
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                while self._units and self._units[0].closed and not self._revoking:
                    await self._commit_oldest(self._units[0])
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            await self.fail(exc)

    async def _commit_oldest(self, oldest: Unit) -> None:
        for future in oldest.futures:
            if future is None or future.done():  # awaiting costs an iteration of the event loop
                continue
            try:
                await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                if oldest.dropped:
                    return
                raise
        if oldest.dropped or self._revoking:
            return
        units = self._ready_units()
        results = [[None if future is None else future.result() for future in unit.futures] for unit in units]
        self._committing = True
        began = time.monotonic()
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(
                self._commit_thread,
                self._committer.commit,
                units,
                results,
                self._stores,
                self._commit_metadata,
            )
        except FencedError as exc:
            dropped = sum(unit.records for unit in units)
            logger.warning("Dropping %d units with %d records: %s", len(units), dropped, exc)
            self.stats.fenced_units += len(units)
            self._drop_units()
            self.state = "rebalancing"  # until the consumer has noticed and rejoined
            if isinstance(exc, TransactionEndedError):
                self._driver.rejoin()  # the broker triggers no rebalance in this case
        else:
            self._after_commit(units, time.monotonic() - began)
        finally:
            self._committing = False
            self._commit_ended.set()

    def _ready_units(self) -> list[Unit]:
        """Return the oldest unit and the scored units that follow it directly; they share a transaction.

        At higher rates a transaction thus covers more records. It covers at most half of the in-flight limits, so that
        the other half can be read meanwhile.
        """
        ready: list[Unit] = []
        records = size_bytes = 0
        for unit in self._units:
            records += unit.records
            size_bytes += unit.bytes
            full = (
                2 * records > self._limits.max_in_flight_records
                or 2 * size_bytes > self._limits.max_in_flight_bytes
            )
            if ready and (full or not unit.closed or not unit.scored):
                break
            ready.append(unit)
        return ready

    def _after_commit(self, units: Sequence[Unit], seconds: float) -> None:
        self.stats.last_progress = time.monotonic()
        self.stats.commit_s += _COMMIT_WEIGHT * (seconds - self.stats.commit_s)
        for unit in units:
            for table in self._tables:
                table.layers.commit_oldest()
            self._units.popleft()
            self._release(unit)
            self.stats.records += unit.records
            self.stats.units += 1
            if self._on_commit is not None:
                self._on_commit(unit, seconds)

    def _release(self, unit: Unit) -> None:
        self.stats.in_flight_records -= unit.records
        self.stats.in_flight_bytes -= unit.bytes
        self._update_room()

    async def check_topics(self, topic_ids: Mapping[str, str]) -> None:
        """End the process if a topic in use was recreated, because its offsets now refer to different records.

        topic_ids: the current ids. The next start compares them with the commit metadata and applies the offset policy.
        """
        changed = [topic for topic, known in self._topic_ids.items() if topic_ids.get(topic, known) != known]
        if self._epoch is not None and changed:
            await self.fail(
                TopicGoneError(f"Topics deleted and recreated while in use: {', '.join(changed)}.")
            )

    # --- progress ---------------------------------------------------------------------------------------

    def lag(self, positions: Mapping[TopicPartition, tuple[int, int]]) -> dict[TopicPartition, Lag]:
        """Return the consumer lag of each input partition.

        positions: the consumer's position and its last stable offset.
        """
        return self.input_lag.of(
            {tp: known for tp, known in positions.items() if tp.topic in self.input_topics}
        )

    def has(self, partition: int) -> bool:
        """Return whether records of this input partition are currently processed; thread-safe."""
        return self._epoch is not None and partition in self._stores

    def stalled_s(self, lag: int) -> float:
        """Return the seconds without progress while there was work; 0 when idle or making progress.

        lag: number of stable records not fetched yet, over all partitions.
        """
        busy = (
            lag > 0
            or self.stats.in_flight_records > 0
            or self.state.startswith(("recovering", "rebalancing"))
        )
        if not busy:
            self.stats.last_progress = time.monotonic()
        return time.monotonic() - self.stats.last_progress

    @property
    def status(self) -> str:
        """The state, with the progress of a running recovery."""
        if self.state.startswith("recovering") and self.stats.recovery.partitions:
            return f"{self.state}: {self.stats.recovery}"
        return self.state

    # --- epochs -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the commit loop; call once, on the event loop."""
        self._commit_task = asyncio.get_running_loop().create_task(self._commit_units())

    def begin_epoch(self, assigned: set[Any]) -> None:
        """Recover the assigned partitions, then start delivery; returns at once."""
        epoch = self._driver.consumer_epoch()
        if epoch is None:
            return
        partitions = sorted({tp.partition for tp in assigned if tp.topic in self.input_topics})
        self._begun = epoch
        previous = self._recovery
        self._recovery = asyncio.get_running_loop().create_task(
            self._start_epoch(epoch, partitions, previous)
        )

    async def _start_epoch(
        self, epoch: Epoch, partitions: Sequence[int], previous: "asyncio.Task[None] | None"
    ) -> None:
        try:
            if previous is not None:
                await asyncio.wait([previous])
            self.state = f"recovering {len(partitions)} partitions"
            self.stats.recovery = RecoveryProgress(self._on_recovery_progress)
            self.stats.last_progress = time.monotonic()
            loop = asyncio.get_running_loop()
            recovered = await loop.run_in_executor(self._recovery_thread, self._recover, epoch, partitions)
            if self._is_over(epoch):
                return
            if recovered.starts_changed:
                await loop.run_in_executor(
                    self._commit_thread, self._committer.commit_start_offsets, epoch, recovered
                )
                if self._is_over(epoch):
                    return
            self._activate(epoch, recovered)
            await self._driver.resume_delivery(epoch, recovered.starts)
            self.ready.set()
        except TransactionEndedError:
            self._driver.rejoin()  # the broker triggers no rebalance in this case
        except (Cancelled, FencedError):
            logger.info("Recovery for generation %d cancelled: the group moved on", epoch.generation)
        except Exception as exc:
            await self.fail(exc)

    def _is_over(self, epoch: Epoch) -> bool:
        moved_on = self._begun is not epoch or self._driver.consumer_epoch() is not epoch
        return moved_on or self.failure is not None

    def _recover(self, epoch: Epoch, partitions: Sequence[int]) -> Recovered:
        """Open and restore the stores. Runs on the recovery thread."""
        for number in partitions:
            self._stores[number] = self._folder.open_store(number, len(partitions))
        self._folder.drop_unused(list(self._stores), time.time())
        return recover(self._plan, self._stores, lambda: self._is_over(epoch), self.stats.recovery)

    def _on_recovery_progress(self) -> None:
        """Report progress to the stall watchdog and to the group. Runs on the recovery thread."""
        self.stats.last_progress = time.monotonic()
        self._driver.keep_membership()

    async def drop_unused_stores(self) -> None:
        """Delete stores of partitions that this worker has not had for long; call it periodically."""
        if self._epoch is None or self.failure is not None:
            return  # a recovery also deletes them
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(
            self._recovery_thread, self._folder.drop_unused, list(self._stores), time.time()
        )

    def _activate(self, epoch: Epoch, recovered: Recovered) -> None:
        for table in self._tables:
            table.use_stores(self._stores)
        self._next = dict(recovered.starts)
        self._topic_ids, self._commit_metadata = recovered.topic_ids, encode_topic_ids(recovered.topic_ids)
        self._epoch = epoch
        self._revoking = False
        self.state = "running"
        self.stats.epochs += 1
        self.stats.recovered_records += recovered.records
        self.stats.recovery_s += recovered.seconds
        self.stats.offset_resets += recovered.resets
        self.stats.lost_records += recovered.lost_records
        self.stats.last_progress = time.monotonic()
        logger.info(
            "Generation %d: %d partitions ready, %d changelog records recovered in %.2f s",
            epoch.generation,
            len(self._stores),
            recovered.records,
            recovered.seconds,
        )

    async def revoke(self) -> None:
        """End the epoch: commit ready units within the time limit, drop the rest, close the stores."""
        self.state = "rebalancing"
        self._begun = None  # cancels its recovery, because the whole group waits until this returns
        if self._epoch is not None and self.failure is None:
            self._epoch = None  # stop intake
            self._close_unit()
            await self._wait_for_commits(self._limits.revoke_timeout_s)
        self._revoking = True
        # The outcome of a commit determines what the stores contain; its calls have their own timeouts.
        while self._committing:
            self._commit_ended.clear()
            await self._commit_ended.wait()
        self._drop_units()
        if self._recovery is not None and not self._recovery.done():
            await asyncio.wait([self._recovery])
        for failure in self._close_stores():
            await self.fail(failure)

    async def _wait_for_commits(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self._units and (left := deadline - time.monotonic()) > 0:
            self._commit_ended.clear()
            try:
                await asyncio.wait_for(self._commit_ended.wait(), left)
            except TimeoutError:
                return

    def _drop_units(self) -> None:
        """Drop all uncommitted units: later units have read the state of earlier ones."""
        self._epoch = None
        if self._linger is not None:
            self._linger.cancel()
        while self._units:
            unit = self._units.popleft()
            unit.dropped = True
            self.stats.dropped_records += unit.records
            for future in unit.futures:
                if future is not None:
                    future.cancel()
            self._release(unit)
        self._open = None
        for table in self._tables:
            table.layers.drop()
        self._commit_ended.set()

    def _close_stores(self) -> list[StoreError]:
        for table in self._tables:
            table.use_stores({})
        stores, self._stores = self._stores, {}
        failures = []
        for store in stores.values():
            try:
                store.close()
            except StoreError as exc:  # the other stores must still be closed
                failures.append(exc)
        return failures

    async def stop(self) -> None:
        """Commit ready units, then close everything and release the state folder."""
        if self.failure is None:
            await self.revoke()
        self.state = "stopped"
        if self._commit_task is not None:
            self._commit_task.cancel()
        self._commit_thread.shutdown(wait=self.failure is None)
        self._recovery_thread.shutdown(wait=self.failure is None)
        self._folder.close()

    async def fail(self, reason: BaseException) -> None:
        """End the process without further commits; only the first reason is kept."""
        if self.failure is not None:
            return
        self.failure = reason
        self.state = f"failed: {reason}"
        self._epoch = None
        known = isinstance(reason, StateFormatError)  # its message is complete; a traceback would hide it
        trace = None if known else reason
        logger.critical("The worker ends: %s: %s", type(reason).__name__, reason, exc_info=trace)
        await self._driver.crash(reason)
