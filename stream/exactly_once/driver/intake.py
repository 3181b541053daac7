"""Gives batches to the engine in order, and holds back the partitions whose next record cannot be read yet.

A partition number of all input topics is one order, so it is held back as a whole; the others go on. What is held is
neither in flight nor committed: a revocation, a crash or a stop forgets it, and the next epoch reads it again.
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

_SAID_INTERVAL_S = 30.0


@dataclass(slots=True)
class Held:
    """A partition that is held back. batches: what waits, in order; said_at: when the log last told of it."""

    hold: Hold
    batches: deque[RecordBatch]
    said_at: float = field(default=float("-inf"))

    def __str__(self) -> str:
        first = self.batches[0]
        return (
            f"{first.topic}[{first.partition}] waits at offset {first.records[0].offset}: {self.hold.reason}"
        )


class Intake:
    """Everything runs on the event loop.

    take: the engine's. clock: seconds that only rise.
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
        self._turn = asyncio.Lock()  # one batch at a time, also while one waits for a schema
        self.held: dict[int, Held] = {}
        """Partitions that are held back, by number; their topics are not fetched."""

    def begin(self, epoch: Epoch | None) -> None:
        """Forget what is held; batches of this epoch come from now on. None: there is no epoch."""
        self._epoch = epoch
        self.held.clear()

    async def put(self, batch: RecordBatch) -> None:
        """Read a batch, or as much of it as can be read, behind what is held of its partition."""
        async with self._turn:
            if batch.epoch is not self._epoch:
                return
            held = self.held.get(batch.partition)
            if held is not None:
                held.batches.append(batch)
                return
            hold = await self._processor.prepare(batch)
            rest = self._read(batch, hold)
            if hold is not None and rest is not None:
                self.held[batch.partition] = Held(hold, deque([rest]))

    async def retry(self) -> None:
        """Ask again whether what is held can be read, and say now and then what still waits."""
        async with self._turn:
            for number, held in list(self.held.items()):
                await self._read_again(held)
                if not held.batches:
                    self.held.pop(number, None)
            for held in self.held.values():
                if self._clock() - held.said_at >= _SAID_INTERVAL_S:
                    held.said_at = self._clock()
                    logger.warning("%s", str(held))

    async def _read_again(self, held: Held) -> None:
        while held.batches:
            batch = held.batches[0]
            hold = await self._processor.prepare(batch)
            rest = self._read(batch, hold)
            if hold is not None and rest is not None:
                held.hold, held.batches[0] = hold, rest
                return
            held.batches.popleft()

    def _read(self, batch: RecordBatch, hold: Hold | None) -> RecordBatch | None:
        """Give the engine what can be read of the batch; return the rest, None of an epoch that has ended."""
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
