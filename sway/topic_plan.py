"""Which topics Sway needs, and what is wrong with those that are there. Pure: no broker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from stream.settings import TopicSettings
from stream.worker.input_limits import AFTER_MAX_MS

KEEP_FOR_EVER = {"retention.ms": "-1"}


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as it should be."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def kept_for_ever(self) -> bool:
        """Whether its records are never deleted by their time."""
        return KEEP_FOR_EVER.items() <= self.config.items()

    def without(self, name: str) -> "TopicPlan":
        """Return the plan without one of its settings."""
        return replace(self, config={key: value for key, value in self.config.items() if key != name})


def plan_topics(topics: TopicSettings, partitions: int, *, history: bool) -> list[TopicPlan]:
    """Return every topic of Sway.

    What has a user as its key has the same partition count everywhere, so that one user lives in one
    partition. history: keep records for ever, whatever their time says.
    """
    config = KEEP_FOR_EVER if history else {}
    limit = {AFTER_MAX_MS: str(round(topics.max_ahead_s * 1000))}
    return [
        # The trainer takes requests one at a time and may be away for longer than any retention.
        TopicPlan(name, 1, KEEP_FOR_EVER)
        if name in {topics.training, topics.models}
        # One wrong clock should not get in: by its records' times labels come due.
        else TopicPlan(name, partitions, config | (limit if name in {topics.events, topics.outcomes} else {}))
        for name in topics.names().values()
    ]


def find_problems(planned: Sequence[TopicPlan], partition_counts: Mapping[str, int]) -> list[str]:
    """Return a sentence for each planned topic that exists with another partition count."""
    return [
        f"{plan.name} has {partition_counts[plan.name]} partitions, planned are {plan.partitions}"
        for plan in planned
        if partition_counts.get(plan.name, plan.partitions) != plan.partitions
    ]


def missing(planned: Sequence[TopicPlan], partition_counts: Mapping[str, int]) -> list[TopicPlan]:
    """Return the planned topics that do not exist."""
    return [plan for plan in planned if plan.name not in partition_counts]
