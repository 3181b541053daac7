"""The topics that Sway needs, and the conflicts with existing ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas.topics import TOPICS, Role
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

    partitions: of the topics that are not read in one order. history: give the topics unlimited retention.
    """
    # A record with a wrong clock must be rejected, because record times determine when labels are due.
    limit = {AFTER_MAX_MS: str(round(topics.max_ahead_s * 1000))}
    return [
        TopicPlan(
            name,
            1 if topic.in_order else partitions,
            (UNLIMITED_RETENTION if history or topic.kept else {})
            | (limit if topic.role is Role.INPUT else {}),
        )
        for name, topic in zip(topics.names().values(), TOPICS.values(), strict=True)
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
