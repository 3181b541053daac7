"""Passes batches to the engine in order, and pauses partitions whose next record cannot be read yet.

All input topics of a partition number form one order, so the partition number is paused as a whole; other partitions
continue. Batches of paused partitions are neither in flight nor committed: a revocation, a crash or a stop discards
them, and the next epoch reads them again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from stream.exactly_once.units.processor import Hold, Processor
from stream.exactly_once.units.records import Epoch, RecordBatch
from stream.exactly_once.units.unit import split

logger = logging.getLogger(__name__)

_LOG_INTERVAL_S = 30.0


@dataclass(slots=True)
class PausedPartition:
    """A paused partition. batches: the waiting batches, in order; logged_at: when its state was last logged."""

    hold: Hold
    batches: deque[RecordBatch]
    logged_at: float = field(default=float("-inf"))

    def __str__(self) -> str:
        first = self.batches[0]
        return f"{first.topic}[{first.partition}] is paused at offset {first.records[0].offset}: {self.hold.reason}"


class Intake:
    """Reads batches in order. All methods run on the event loop.

    take: passes a batch to the engine. clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        processor: Processor,
        take: Callable[[RecordBatch], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processor = processor
        self._take = take
        self._clock = clock
        self._epoch: Epoch | None = None
        self._lock = asyncio.Lock()  # one batch at a time, also while a batch waits for a schema
        self.paused_partitions: dict[int, PausedPartition] = {}
        """Paused partitions by number; their topics are not fetched."""

    def begin(self, epoch: Epoch | None) -> None:
        """Discard paused batches and accept batches of this epoch from now on; None: there is no epoch."""
        self._epoch = epoch
        self.paused_partitions.clear()

    async def put(self, batch: RecordBatch) -> None:
        """Read as much of a batch as possible; if its partition is paused, append it there."""
        async with self._lock:
            if batch.epoch is not self._epoch:
                return
            paused = self.paused_partitions.get(batch.partition)
            if paused is not None:
                paused.batches.append(batch)
                return
            hold = await self._processor.prepare(batch)
            rest = self._read(batch, hold)
            if hold is not None and rest is not None:
                self.paused_partitions[batch.partition] = PausedPartition(hold, deque([rest]))

    async def retry(self) -> None:
        """Retry paused partitions, and log those that are still paused every _LOG_INTERVAL_S."""
        async with self._lock:
            for number, paused in list(self.paused_partitions.items()):
                await self._read_again(paused)
                if not paused.batches:
                    self.paused_partitions.pop(number, None)
            for paused in self.paused_partitions.values():
                if self._clock() - paused.logged_at >= _LOG_INTERVAL_S:
                    paused.logged_at = self._clock()
                    logger.warning("%s", str(paused))

    async def _read_again(self, paused: PausedPartition) -> None:
        while paused.batches:
            batch = paused.batches[0]
            hold = await self._processor.prepare(batch)
            rest = self._read(batch, hold)
            if hold is not None and rest is not None:
                paused.hold, paused.batches[0] = hold, rest
                return
            paused.batches.popleft()

    def _read(self, batch: RecordBatch, hold: Hold | None) -> RecordBatch | None:
        """Pass the readable part of a batch to the engine and return the rest; None if its epoch has ended."""
        if batch.epoch is not self._epoch:
            return None
        if hold is None:
            self._take(batch)
            return None
        if not hold.readable:
            return batch
        head, rest = split(batch, hold.readable)
        self._take(head)
        return rest
