"""A batch of a partition, and what all partitions of a process share.

A batch is a unit of stream.exactly_once: a closed slice of the partition's order with a layer of state of its own, so
that the next one is read and scored while it is committed.
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
from stream.processor import ScoringProcessor
from stream.replay.ordering import MergedOrder, Room
from stream.replay.outputs import Outputs
from stream.replay.plan import ReplayPlan
from stream.replay.state import ReplayState
from stream.replay.steps import Step


@dataclass(slots=True)
class Batch:
    """What is committed together. room: for more records.

    began, reached: offsets of events and outcomes, reached also of old scores.
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
    """What a score says of its model."""

    @property
    def version(self) -> str:
        """The version in the registry."""
        ...

    @property
    def dtype(self) -> str:
        """The type it is run in."""
        ...


class Sources(Protocol):
    """What a partition is read from."""

    order: MergedOrder

    @property
    def old_scores_next(self) -> int:
        """From where old scores must be read to go on from here."""
        ...

    def close(self) -> None:
        """Let go of the brokers."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What all partitions of a process share. commits: runs commits, one after the other. topics: events, outcomes."""

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
        """Return the room of a new batch."""
        return Room(self.batch_records, self.batch_bytes)
