"""Which topics an explanation is read from, and their records as of now."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from stream.labels.state import ESTIMATES, PENDING
from stream.processor import WINDOWS
from stream.settings import Settings
from sway.cluster import Cluster
from sway.committed import committed
from sway.doctor.keys import murmur2_partition

_GROUP = "sway-explain"

Record = tuple[bytes, bytes | None]
"""Key and value; None says that the key is gone."""


@dataclass(frozen=True, slots=True)
class Names:
    """Full names: the changelogs of three tables, and the topic of examples."""

    estimates: str
    pending: str
    windows: str
    examples: str

    @classmethod
    def of(cls, settings: Settings) -> "Names":
        """Return an application's."""
        tables = (ESTIMATES, PENDING, WINDOWS)
        estimates, pending, windows = (f"{settings.app_id}-{table}-changelog" for table in tables)
        return cls(estimates, pending, windows, settings.topics.examples)


class Topics(Protocol):
    """Where records are read; CommittedTopics is one."""

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; 0 if there is no such topic."""
        ...

    def records(self, topic: str, partition: int | None, newest: int | None) -> Iterator[Record]:
        """Yield the records of one partition, or of all, each in its order.

        newest: of no more than so many of each partition's last offsets.
        """
        ...


class CommittedTopics:
    """What a read_committed reader sees of a cluster. Raises CommandError if no broker answers in time.

    on_topic: told which topic is being read.
    """

    def __init__(self, settings: Settings, on_topic: Callable[[str], None] = lambda _topic: None) -> None:
        self._config = settings.kafka.client_config()
        self._counts = Cluster(settings.kafka).view().partition_counts
        self._on_topic = on_topic

    def partitions(self, topic: str) -> int:
        """As Topics has it."""
        return self._counts.get(topic, 0)

    def records(self, topic: str, partition: int | None, newest: int | None) -> Iterator[Record]:
        """As Topics has it."""
        self._on_topic(topic)
        partitions = None if partition is None else (partition,)
        for message in committed(self._config, topic, group=_GROUP, partitions=partitions, newest=newest):
            key = message.key() or b""
            yield key.encode() if isinstance(key, str) else key, message.value()


def records_of(
    topics: Topics, topic: str, user_id: str | None, newest: int | None = None
) -> Iterator[Record]:
    """Yield the records of the partition that a user's are in, or of all partitions; none if there is no such topic."""
    count = topics.partitions(topic)
    if count:
        partition = None if user_id is None else murmur2_partition(user_id.encode(), count)
        yield from topics.records(topic, partition, newest)
