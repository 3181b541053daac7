"""Lookup of partition leaders, and of the coordinators of groups and transactional ids."""

from typing import Any, Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from sway.embedded.errors import EmbeddedError

CoordinatorOf = Literal["group", "transaction"]

_INTERNAL_TOPICS: dict[CoordinatorOf, str] = {
    "group": "__consumer_offsets",
    "transaction": "__transaction_state",
}
_TIMEOUT_S = 10.0


class Leaders:
    """The leaders in a cluster's metadata; a killed broker remains there until its session expires."""

    def __init__(self, bootstrap_servers: str) -> None:
        config: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            # Unreachable brokers are expected here.
            "log_level": 0,
            "error_cb": lambda _error: None,
        }
        self._admin = AdminClient(config)

    def leader_of(self, topic: str, partition: int) -> int:
        """Return the node id of a partition's leader. Raises EmbeddedError if there is none."""
        return self._leader(topic, partition, self._leaders(topic))

    def coordinator_of(self, name: str, kind: CoordinatorOf) -> int:
        """Return the node id of the coordinator of a group or a transactional id.

        Raises EmbeddedError if there is none: the internal topic is created by the first group or transaction.
        """
        topic = _INTERNAL_TOPICS[kind]
        leaders = self._leaders(topic)
        return self._leader(topic, coordinator_partition(name, len(leaders)), leaders)

    def _leaders(self, topic: str) -> dict[int, int]:
        try:
            metadata = self._admin.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        except KafkaException as exc:
            raise EmbeddedError(f"cannot read the partition leaders of {topic}: {exc.args[0].str()}") from exc
        if metadata.error is not None or not metadata.partitions:
            raise EmbeddedError(f"the embedded Kafka has no topic {topic}: {metadata.error}")
        return {number: partition.leader for number, partition in metadata.partitions.items()}

    def _leader(self, topic: str, partition: int, leaders: dict[int, int]) -> int:
        leader = leaders.get(partition, -1)
        if leader < 0:
            raise EmbeddedError(f"{topic}[{partition}] has no leader; leaders by partition: {leaders}")
        return leader


def coordinator_partition(name: str, partitions: int) -> int:
    """Return the partition of the internal topic whose leader coordinates a group or transactional id.

    Source: Kafka's GroupCoordinatorService and TransactionStateManager: |String.hashCode| modulo the partitions.
    """
    code = java_hash(name)
    return 0 if code == -(2**31) else abs(code) % partitions


def java_hash(text: str) -> int:
    """Return Java's String.hashCode: over UTF-16 code units, a signed 32-bit integer."""
    units = text.encode("utf-16-be")
    code = 0
    for index in range(0, len(units), 2):
        code = (31 * code + int.from_bytes(units[index : index + 2])) & 0xFFFF_FFFF
    return code - 2**32 if code >= 2**31 else code
