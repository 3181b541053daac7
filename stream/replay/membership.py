"""Which partitions are this process's: the consumer group of the replay divides them.

Only the division is used: nothing is fetched by this consumer and nothing committed. What keeps two processes apart is
each partition's transactional id (stream/replay/partition.py), also when this consumer learns late that it lost one.
"""

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as KafkaTopicPartition

from stream.replay.errors import ReplayError

_REFUSED = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
"""What does not pass by waiting."""


class Membership:
    """A member of a replay's group.

    instance: a name that outlives the process: if it comes back within the session time-out, it has its partitions at
    once.
    on_lost: called with partitions that are taken away, before they are given to another; must let go of them.
    """

    def __init__(
        self,
        client_config: Mapping[str, str],
        group_id: str,
        topic: str,
        *,
        instance: str,
        session_timeout_s: float,
        heartbeat_interval_s: float,
        on_lost: Callable[[set[int]], None],
    ) -> None:
        self.partitions: set[int] = set()
        self._on_lost = on_lost
        self._consumer = Consumer(
            {
                **client_config,
                "group.id": group_id,
                "group.instance.id": instance,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": int(session_timeout_s * 1000),
                "heartbeat.interval.ms": int(heartbeat_interval_s * 1000),
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log.connection.close": False,
            }
        )
        self._consumer.subscribe(
            [topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def poll(self, timeout_s: float = 0.0) -> None:
        """Take part in the group; call often, at least once in five minutes. Raises ReplayError if it is refused."""
        message = self._consumer.poll(timeout_s)
        error = None if message is None else message.error()
        if error is None or error.retriable():
            return
        if error.code() == KafkaError.FENCED_INSTANCE_ID:
            raise ReplayError(
                "Another process has taken this one's place in the replay: two run with the same state folder. "
                "Give each machine its own SWAY_STATE_DIR, and start one command a machine."
            )
        if error.fatal() or error.code() in _REFUSED:
            raise ReplayError(f"The replay's group refuses this process: {error.str()}")

    def close(self) -> None:
        """Stop taking part; the place is kept until the session times out."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[Any]) -> None:
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        self.partitions |= {tp.partition for tp in partitions}

    def _revoked(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        lost = {tp.partition for tp in partitions}
        self.partitions -= lost
        self._on_lost(lost)
        consumer.incremental_unassign(partitions)
