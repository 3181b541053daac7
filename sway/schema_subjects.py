"""Which record stands on which topic, and under which subject a Schema Registry holds it. Pure."""

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
    """Return the record of each subject, `<topic>-value`.

    The changelogs have none: their values are for nobody else. Source: Confluent's TopicNameStrategy.
    """
    return {f"{topic}-value": _RECORDS[field] for field, topic in topics.names().items()}
