"""The steps in which a partition is read, from its beginning to its end. Pure.

Each goes up to an offset of the events and then, for some, of the outcomes:

    learn     what was before the range: state alone, nothing is said
    recall    what this replay has published before, if the store does not hold it: state and estimates, nothing is said
    score     the range
    run out   what came after it, for the labels of the range's events: its events are not scored; then the outcomes
              after the last event
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from stream.replay.plan import Progress, ReplayPlan


class Reading(Enum):
    """What becomes of the events of a step."""

    LEARN = auto()
    RECALL = auto()
    SCORE = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """events_to, outcomes_to: where it ends; None: as many outcomes as its events need. told: whether it has output."""

    reading: Reading
    events_to: int
    outcomes_to: int | None = None
    told: bool = False


def steps_of(plan: ReplayPlan, partition: int, progress: Progress, *, recall: bool) -> Iterator[Step]:
    """Yield the steps of a partition, those that are done as well: their records are behind the store's position.

    recall: whether estimates of what was published are needed and not in the store.
    """
    part = plan.partitions[partition]
    yield Step(Reading.LEARN, part.scored.start)
    again = Reading.RECALL if recall else Reading.LEARN
    yield Step(again, min(progress.events_next, part.scored.end))
    yield Step(Reading.LEARN, progress.events_next, progress.outcomes_next)
    yield Step(Reading.SCORE, part.scored.end, told=True)
    if plan.with_labels:
        yield Step(Reading.LEARN, part.run_out.end, part.tail_to, told=True)
