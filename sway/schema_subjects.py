"""The record type of each subject in a Schema Registry."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from schemas.records import Record
from schemas.topics import TOPICS
from stream.settings import TopicSettings

if TYPE_CHECKING:
    from schemas.registration import SubjectStatus


def subjects(topics: TopicSettings) -> dict[str, type[Record]]:
    """Return the record type of each subject, `<topic>-value`.

    Changelogs have no subject, because their values are private to Sway. Source: Confluent's TopicNameStrategy.
    """
    return {f"{topic}-value": TOPICS[field].record for field, topic in topics.names().items()}


def ask_all(
    topics: TopicSettings, url: str, ask: "Callable[[Any, str, type[Any]], SubjectStatus]"
) -> "list[SubjectStatus]":
    """Call ask(registry client, subject, record type) for every subject, in the order of the topics.

    Raises RegistryUnavailable, ContractError.
    """
    # Imported here because it takes half a second to import.
    from schemas.registry import connect

    with connect(url) as client:
        return [ask(client, subject, record) for subject, record in subjects(topics).items()]


def register_all(topics: TopicSettings, url: str) -> "list[SubjectStatus]":
    """Register the current schemas of all topics. Raises RegistryUnavailable, ContractError."""
    from schemas.registration import register

    return ask_all(topics, url, register)
