"""The topics of an explanation and their current records."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from schemas.topics import changelog_of
from stream.scoring.labels.state import ESTIMATES, PENDING
from stream.scoring.processor import WINDOWS
from stream.settings import Settings
from sway.cluster import Cluster
from sway.committed import committed
from sway.partitioner import murmur2_partition

_GROUP = "sway-explain"

Record = tuple[bytes, bytes | None]
"""Key and value; a value of None is a tombstone."""


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The full names of the changelogs of three tables, and of the examples topic."""

    estimates: str
    pending: str
    windows: str
    examples: str

    @classmethod
    def of(cls, settings: Settings) -> "TopicNames":
        """Return the names for an application's settings."""
        tables = (ESTIMATES, PENDING, WINDOWS)
        estimates, pending, windows = (changelog_of(settings.app_id, table) for table in tables)
        return cls(estimates, pending, windows, settings.topics.examples)


class Topics(Protocol):
    """A source of records, such as CommittedTopics."""

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of a topic; 0 if it does not exist."""
        ...

    def records(self, topic: str, partition: int | None, newest: int | None) -> Iterator[Record]:
        """Yield the records of one partition, or of all partitions, in offset order per partition.

        newest: limit to the last offsets of each partition; None reads all.
        """
        ...


class CommittedTopics:
    """The committed records of a cluster. Raises CommandError if no broker is reachable in time.

    on_topic: called with the name of each topic before it is read.
    """

    def __init__(self, settings: Settings, on_topic: Callable[[str], None] = lambda _topic: None) -> None:
        self._config = settings.kafka.client_config()
        self._counts = Cluster(settings.kafka).view().partition_counts
        self._on_topic = on_topic

    def partitions(self, topic: str) -> int:
        """See Topics."""
        return self._counts.get(topic, 0)

    def records(self, topic: str, partition: int | None, newest: int | None) -> Iterator[Record]:
        """See Topics."""
        self._on_topic(topic)
        partitions = None if partition is None else (partition,)
        for message in committed(self._config, topic, group=_GROUP, partitions=partitions, newest=newest):
            key = message.key() or b""
            yield key.encode() if isinstance(key, str) else key, message.value()


def records_of(
    topics: Topics, topic: str, user_id: str | None, newest: int | None = None
) -> Iterator[Record]:
    """Yield the records of the user's partition, or of all partitions; none if the topic does not exist."""
    count = topics.partitions(topic)
    if count:
        partition = None if user_id is None else murmur2_partition(user_id.encode(), count)
        yield from topics.records(topic, partition, newest)
