"""The interfaces that a program implements: Processor and Scorer."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from stream.exactly_once.units.records import RecordBatch
from stream.exactly_once.units.unit import Unit, Work


@dataclass(frozen=True, slots=True)
class Hold:
    """The reason why a partition is paused. readable: number of records of the batch before the blocked one.

    missing: what the blocked record needs, as a short label for a metric. reason: a sentence that says what to do.
    """

    readable: int
    missing: str
    reason: str


class Processor(Protocol):
    """The program's logic in two stages, each called in delivery order.

    `prepare` and `read` run on the event loop as records arrive. `finish` runs on the commit thread, after the jobs of
    the unit are done and every earlier unit is finished. Write a table in one stage only, so that the values seen by
    `read` do not depend on the speed of the scorer. Both stages run again for records of a dropped unit and must not
    keep state outside the unit. An exception ends the process, and nothing of the unit is committed.
    """

    async def prepare(self, batch: RecordBatch) -> Hold | None:
        """Wait for external data that the batch needs, such as a schema; intake waits meanwhile.

        Return a Hold if a record cannot be read yet. Its partition is paused at that record and retried later.
        """
        ...

    def read(self, batch: RecordBatch, unit: Unit) -> Work:
        """Change state, emit outputs that need no scoring, and return the jobs to score."""
        ...

    def finish(self, work: Work, results: Any, unit: Unit) -> None:
        """Emit the outputs that depend on the results. results: the scorer's result; None without jobs."""
        ...


class Scorer(Protocol):
    """Runs slow work off the event loop."""

    def submit(self, jobs: Sequence[Any]) -> "Future[Any]":
        """Enqueue jobs behind those already submitted; cancelling the future removes them from the queue."""
        ...
