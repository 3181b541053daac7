"""The topics that Sway needs, and the conflicts with existing ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from stream.settings import TopicSettings
from stream.worker.input_limits import AFTER_MAX_MS

UNLIMITED_RETENTION = {"retention.ms": "-1"}


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """The required partitions and configuration of a topic."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_unlimited_retention(self) -> bool:
        """Whether records are never deleted by age."""
        return UNLIMITED_RETENTION.items() <= self.config.items()

    def without(self, name: str) -> "TopicPlan":
        """Return the plan without this configuration entry."""
        return replace(self, config={key: value for key, value in self.config.items() if key != name})


def plan_topics(topics: TopicSettings, partitions: int, *, history: bool) -> list[TopicPlan]:
    """Return the plans of all topics.

    All topics keyed by user have the same partition count, so that each user has one partition number.
    history: give the topics unlimited retention.
    """
    config = UNLIMITED_RETENTION if history else {}
    limit = {AFTER_MAX_MS: str(round(topics.max_ahead_s * 1000))}
    return [
        # The trainer takes requests one at a time, and may be down for longer than any retention.
        TopicPlan(name, 1, UNLIMITED_RETENTION)
        if name in {topics.training, topics.models}
        # A record with a wrong clock must be rejected, because record times determine when labels are due.
        else TopicPlan(name, partitions, config | (limit if name in {topics.events, topics.outcomes} else {}))
        for name in topics.names().values()
    ]


def find_problems(planned: Sequence[TopicPlan], partition_counts: Mapping[str, int]) -> list[str]:
    """Return a message for each planned topic that exists with another partition count."""
    return [
        f"{plan.name} has {partition_counts[plan.name]} partitions instead of {plan.partitions}"
        for plan in planned
        if partition_counts.get(plan.name, plan.partitions) != plan.partitions
    ]


def missing(planned: Sequence[TopicPlan], partition_counts: Mapping[str, int]) -> list[TopicPlan]:
    """Return the planned topics that do not exist."""
    return [plan for plan in planned if plan.name not in partition_counts]
