"""Membership in the replay's consumer group, which assigns partitions to processes.

Only the assignment is used: this consumer fetches and commits nothing. Each partition's transactional id
(stream/replay/partition.py) isolates two processes even if this consumer learns late that it lost a partition.
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
"""Errors that do not go away by waiting."""


class Membership:
    """A member of a replay's group.

    instance: static member name; a process that restarts within the session timeout gets its partitions back at once.
    on_lost: called with revoked partitions before they are assigned to another process; must close them.
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
        """Poll the group; call at least once in five minutes. Raises ReplayError if the group refuses this process."""
        message = self._consumer.poll(timeout_s)
        error = None if message is None else message.error()
        if error is None or error.retriable():
            return
        if error.code() == KafkaError.FENCED_INSTANCE_ID:
            raise ReplayError(
                "Another process has taken over this one's place in the replay: two processes use the same state "
                "folder. Give each machine its own SWAY_STATE_DIR, and start one command per machine."
            )
        if error.fatal() or error.code() in _REFUSED:
            raise ReplayError(f"The replay's group refuses this process: {error.str()}")

    def close(self) -> None:
        """Close the consumer; its partitions stay assigned until the session times out."""
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
