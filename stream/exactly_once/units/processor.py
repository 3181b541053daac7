"""What a program brings: a Processor and a Scorer."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from stream.exactly_once.units.records import RecordBatch
from stream.exactly_once.units.unit import Unit, Work


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a partition must wait. readable: how many records of the batch can be read before the one that cannot.

    missing: what the record needs, in few words, for a metric's label. reason: a sentence that says what to do.
    """

    readable: int
    missing: str
    reason: str


class Processor(Protocol):
    """The program's own logic, in two stages, each called in the order of delivery.

    `prepare` and `read` run on the event loop as records arrive; `finish` on the commit thread, once the jobs
    of the unit are done and every earlier unit is finished. A table is written in one stage only, so that what
    `read` sees never depends on how fast the scorer is. Both are called again for records whose unit was dropped, so
    they keep nothing outside the unit. An exception ends the process with nothing committed.
    """

    async def prepare(self, batch: RecordBatch) -> Hold | None:
        """Wait for what reading the batch needs from elsewhere (a schema); intake pauses meanwhile.

        Return a Hold if a record cannot be read yet: its partition is held back at it, and asked about again.
        """
        ...

    def read(self, batch: RecordBatch, unit: Unit) -> Work:
        """Change state, emit what can be said at once, and return the jobs to score."""
        ...

    def finish(self, work: Work, results: Any, unit: Unit) -> None:
        """Emit what the results say. results: what the scorer gave for these jobs; None without jobs."""
        ...


class Scorer(Protocol):
    """Slow work off the event loop."""

    def submit(self, jobs: Sequence[Any]) -> "Future[Any]":
        """Queue jobs behind those already submitted; cancelling the future withdraws them."""
        ...
