"""The plan of a replay, which is made once, and the progress of a partition.

Offset ranges are half-open: the start is included, the end is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Span(NamedTuple):
    """A half-open offset range of one partition."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Number of offsets: at least the number of records, since transaction markers occupy offsets."""
        return max(0, self.end - self.start)


NOTHING = Span(0, 0)


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """The plan for one partition of the events.

    warm_up: events read only for the state, up to the start of scoring. scored: events to score. run_out: events
    after them, read only for labels. outcomes: range of outcomes that may be read. old_scores: range of the topic of
    live scores. known: the events whose position among the outcomes is known from old scores; empty if there are none.
    """

    warm_up: Span
    scored: Span
    run_out: Span
    outcomes: Span
    old_scores: Span = NOTHING
    known: Span = NOTHING
    labels_to: int | None = None
    """With labels: end offset for outcomes read after the last event; None: the end of `outcomes`."""

    @property
    def tail_to(self) -> int:
        """End offset for outcomes read after the last event, with labels."""
        return self.outcomes.end if self.labels_to is None else self.labels_to

    @property
    def may_lack_a_past(self) -> bool:
        """Whether events or outcomes may be missing before the range that is read."""
        return bool(self.scored.size) and (self.warm_up.start > 0 or self.outcomes.start > 0)

    @property
    def known_events(self) -> int:
        """Number of offsets to read and score that lie between the first and the last old score."""
        both = Span(max(self.known.start, self.warm_up.start), min(self.known.end, self.scored.end))
        return both.size


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The plan of a replay; identical for every machine that works on it.

    outputs: kinds of output and the topic's name. settings: digest of the settings that affect texts. topic_ids: of the
    inputs, to detect a topic that was recreated.
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
        """Number of event offsets to score."""
        return sum(part.scored.size for part in self.partitions.values())

    @property
    def warm_up_records(self) -> int:
        """Number of event offsets to read without scoring."""
        return sum(part.warm_up.size + part.run_out.size for part in self.partitions.values())


COUNTS = ("scores", "dead_letters", "examples", "users_past_retention")


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a partition: everything before these two offsets is committed and visible.

    counts: totals of all its batches, by the names in COUNTS. file: the newest batch's Parquet files; empty if none.
    """

    events_next: int
    outcomes_next: int
    counts: Mapping[str, int] = field(default_factory=dict)
    file: str = ""
    done: bool = False


def first_progress(plan: PartitionPlan) -> Progress:
    """Return the progress at the start of a partition."""
    return Progress(plan.scored.start, plan.outcomes.start)
