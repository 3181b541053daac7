"""The record type of each subject in a Schema Registry."""

from schemas.records import Record
from schemas.topics import TOPICS
from stream.settings import TopicSettings


def subjects(topics: TopicSettings) -> dict[str, type[Record]]:
    """Return the record type of each subject, `<topic>-value`.

    Changelogs have no subject, because their values are private to Sway. Source: Confluent's TopicNameStrategy.
    """
    return {f"{topic}-value": TOPICS[field].record for field, topic in topics.names().items()}
