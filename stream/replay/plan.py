"""What a replay reads and writes, decided once, and how far a partition is. Pure.

Offsets are half open: the start is read, the end is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Span(NamedTuple):
    """Offsets of one partition, half open."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Offsets in it: at least as many as records, since transactions leave markers."""
        return max(0, self.end - self.start)


NOTHING = Span(0, 0)


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """One partition of the events, and what else is read for it.

    warm_up: events read for the state alone, up to where scoring starts. scored: those that get a score.
    run_out: events after them, read for labels alone. outcomes: as far as they may be read. old_scores: offsets of the
    topic of live scores; known: the events whose place among the outcomes these tell; empty where none is at hand.
    """

    warm_up: Span
    scored: Span
    run_out: Span
    outcomes: Span
    old_scores: Span = NOTHING
    known: Span = NOTHING
    labels_to: int | None = None
    """With labels: as far as outcomes are read once there are no more events; None is to their end."""

    @property
    def tail_to(self) -> int:
        """As far as outcomes are read once there are no more events, with labels."""
        return self.outcomes.end if self.labels_to is None else self.labels_to

    @property
    def may_lack_a_past(self) -> bool:
        """Whether behaviours, or what came of them, may be missing from before what is read."""
        return bool(self.scored.size) and (self.warm_up.start > 0 or self.outcomes.start > 0)

    @property
    def known_events(self) -> int:
        """How many offsets of what is read and scored have an old score around them."""
        both = Span(max(self.known.start, self.warm_up.start), min(self.known.end, self.scored.end))
        return both.size


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """All of a replay; the same for every machine that works on it.

    outputs: which kinds, and the topic's name. settings: a digest of those that decide what a text says. topic_ids: of
    the inputs, so that one which is made again meanwhile is noticed.
    """

    replay_id: str
    model_version: str
    with_labels: bool
    outputs: str
    settings: str
    created_at_ms: int
    topic_ids: Mapping[str, str]
    partitions: Mapping[int, PartitionPlan]

    @property
    def records(self) -> int:
        """Offsets of the events to be scored."""
        return sum(part.scored.size for part in self.partitions.values())

    @property
    def warm_up_records(self) -> int:
        """Offsets of the events that are read and not scored."""
        return sum(part.warm_up.size + part.run_out.size for part in self.partitions.values())


COUNTS = ("scores", "dead_letters", "examples", "users_past_retention")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition is: everything before these two offsets is done and visible.

    counts: of all its batches, by the names in COUNTS. file: the newest batch's Parquet files; empty for none.
    """

    events_next: int
    outcomes_next: int
    counts: Mapping[str, int] = field(default_factory=dict)
    file: str = ""
    done: bool = False


def first_progress(plan: PartitionPlan) -> Progress:
    """Return where a partition begins."""
    return Progress(plan.scored.start, plan.outcomes.start)
