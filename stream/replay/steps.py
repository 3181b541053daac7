"""The steps in which a partition is read.

Each step reads events up to an offset and some steps then read outcomes up to an offset:

    learn     records before the range: update the state, no output
    recall    events whose scores this replay has published but the store lacks: update state and estimates, no output
    score     the range
    run out   records after the range, for labels of its events: later events are not scored; then the outcomes after
              the last event
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from stream.replay.plan import Progress, ReplayPlan


class Reading(Enum):
    """How the events of a step are processed."""

    LEARN = auto()
    RECALL = auto()
    SCORE = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """events_to, outcomes_to: end offsets; None: as many outcomes as its events need. has_output: writes records."""

    reading: Reading
    events_to: int
    outcomes_to: int | None = None
    has_output: bool = False


def steps_of(plan: ReplayPlan, partition: int, progress: Progress, *, recall: bool) -> Iterator[Step]:
    """Yield the steps of a partition, including completed ones, whose records precede the store's position.

    recall: whether estimates of published scores are needed and missing in the store.
    """
    part = plan.partitions[partition]
    yield Step(Reading.LEARN, part.scored.start)
    again = Reading.RECALL if recall else Reading.LEARN
    yield Step(again, min(progress.events_next, part.scored.end))
    yield Step(Reading.LEARN, progress.events_next, progress.outcomes_next)
    yield Step(Reading.SCORE, part.scored.end, has_output=True)
    if plan.with_labels:
        yield Step(Reading.LEARN, part.run_out.end, part.tail_to, has_output=True)
