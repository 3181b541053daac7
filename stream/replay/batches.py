"""A batch of a partition, and the components shared by all partitions of a process.

A batch is a unit of stream.exactly_once: a contiguous slice of the partition's order with its own state layer, so that
the next batch can be read and scored during its commit.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Protocol

from model.waiting import ScoredTexts
from stream.exactly_once.units.processor import Scorer
from stream.exactly_once.units.unit import Unit, Work
from stream.replay.ordering import MergedOrder, Room
from stream.replay.outputs import Outputs
from stream.replay.plan import ReplayPlan
from stream.replay.state import ReplayState
from stream.replay.steps import Step
from stream.scoring.processor import ScoringProcessor


@dataclass(slots=True)
class Batch:
    """Records committed together. room: remaining capacity.

    began, reached: offsets of events and outcomes; reached also contains the offset of old scores.
    """

    unit: Unit
    step: Step
    opened_s: float
    room: Room
    began: tuple[int, int] = (0, 0)
    reached: tuple[int, int, int] = (0, 0, 0)
    works: "deque[tuple[Work, Future[ScoredTexts] | ScoredTexts | None]]" = field(default_factory=deque)
    texts: int = 0
    users_past_retention: int = 0
    closed: bool = False


class ReplayModel(Protocol):
    """The model properties that are written to a score."""

    @property
    def version(self) -> str:
        """The version in the registry."""
        ...

    @property
    def dtype(self) -> str:
        """The data type of its computation."""
        ...


class Sources(Protocol):
    """The inputs of a partition."""

    order: MergedOrder

    @property
    def old_scores_next(self) -> int:
        """Offset from which old scores must be read to resume here."""
        ...

    def close(self) -> None:
        """Close the consumers."""
        ...


@dataclass(frozen=True, slots=True)
class ReplayContext:
    """Components shared by all partitions of a process.

    commits: runs commits one at a time. topics: names of the events topic and the outcomes topic.
    """

    plan: ReplayPlan
    topics: tuple[str, str]
    processor: ScoringProcessor
    state: ReplayState
    model: ReplayModel
    scorer: Scorer
    outputs: Outputs
    identity: bytes
    commits: Executor
    batch_records: int
    batch_bytes: int
    batch_s: float
    changed: Callable[[], None]
    clock: Callable[[], float] = time.monotonic

    def room(self) -> Room:
        """Return the capacity of a new batch."""
        return Room(self.batch_records, self.batch_bytes)
