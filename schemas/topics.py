"""The facts of Sway's topics. Settings, the plan of topics, `sway doctor` and a table of the docs derive from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from schemas.records import (
    BehaviorEvent,
    DeadLetter,
    InfluenceScore,
    LabeledExample,
    ModelAnnouncement,
    Outcome,
    Recommendation,
    RecommendationRequest,
    Record,
    TrainingRequest,
)


class Role(StrEnum):
    """The role of a topic for a worker that scores. A worker starts without the topics of the role OTHER."""

    INPUT = "input"
    OUTPUT = "output"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Topic:
    """The facts of one topic.

    suffix: the name after the prefix and a dot. record: the type of its values. key: the meaning of its keys.
    role: for a worker that scores. in_order: whether it has one partition, because its records are taken one after the
    other; all other topics have the same partition count, so that each user has one partition number.
    kept: whether its records are never deleted by age.
    """

    suffix: str
    record: type[Record]
    key: str = "user_id"
    role: Role = Role.OTHER
    in_order: bool = False
    kept: bool = False


TOPICS: Mapping[str, Topic] = {
    "events": Topic("events", BehaviorEvent, role=Role.INPUT),
    "outcomes": Topic("outcomes", Outcome, role=Role.INPUT),
    "scores": Topic("scores", InfluenceScore, role=Role.OUTPUT),
    "scores_shadow": Topic("scores.shadow", InfluenceScore),
    "examples": Topic("examples", LabeledExample),
    # The trainer takes requests one at a time, and may be down for longer than any retention.
    "training": Topic("training", TrainingRequest, "none", in_order=True, kept=True),
    "models": Topic("models", ModelAnnouncement, "version", in_order=True, kept=True),
    "dead_letters": Topic("dead-letters", DeadLetter, "source topic and partition", Role.OUTPUT),
    "recommendation_requests": Topic("recommendation-requests", RecommendationRequest),
    "recommendations": Topic("recommendations", Recommendation),
}
"""All topics by their names in the settings, in the order in which commands list them."""


def changelog_of(app_id: str, table: str) -> str:
    """Return the name of the changelog topic of an application's table."""
    return f"{app_id}-{table}-changelog"
