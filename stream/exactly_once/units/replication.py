"""Replication factor and min.insync.replicas of new topics."""

MAX_REPLICAS = 3
_MIN_ISR = "min.insync.replicas"


def replicas_for(brokers: int, wanted: int | None = None) -> int:
    """Return the replication factor of a new topic: `wanted`, or the number of brokers but at most 3."""
    return wanted or max(1, min(brokers, MAX_REPLICAS))


def replication_config(replicas: int) -> dict[str, str]:
    """Return the topic configuration for a replication factor: with 3, one broker may fail without data loss."""
    return {_MIN_ISR: "2"} if replicas >= MAX_REPLICAS else {}
