"""The record type of each topic, and its subject in a Schema Registry."""

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
from stream.settings import TopicSettings

_RECORDS: dict[str, type[Record]] = {
    "events": BehaviorEvent,
    "outcomes": Outcome,
    "scores": InfluenceScore,
    "scores_shadow": InfluenceScore,
    "examples": LabeledExample,
    "training": TrainingRequest,
    "models": ModelAnnouncement,
    "dead_letters": DeadLetter,
    "recommendation_requests": RecommendationRequest,
    "recommendations": Recommendation,
}


def subjects(topics: TopicSettings) -> dict[str, type[Record]]:
    """Return the record type of each subject, `<topic>-value`.

    Changelogs have no subject, because their values are private to Sway. Source: Confluent's TopicNameStrategy.
    """
    return {f"{topic}-value": _RECORDS[field] for field, topic in topics.names().items()}
