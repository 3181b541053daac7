"""How often each partition is kept. Pure."""

MAX_REPLICAS = 3
_MIN_ISR = "min.insync.replicas"


def replicas_for(brokers: int, wanted: int | None = None) -> int:
    """Return the replicas of a new topic: as wanted, or one a broker and at most 3."""
    return wanted or max(1, min(brokers, MAX_REPLICAS))


def replication_config(replicas: int) -> dict[str, str]:
    """Return what a topic with so many replicas is told: with 3 one broker may be away and nothing can be lost."""
    return {_MIN_ISR: "2"} if replicas >= MAX_REPLICAS else {}
