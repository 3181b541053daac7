"""Waits until a broker answers on Kafka's own protocol."""

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs forget to export these
    AdminClient,
    ClusterMetadata,
    OffsetSpec,
)

_POLL_S = 0.5  # the longest that one question waits, so that a dead broker is noticed


def await_brokers(
    bootstrap_servers: str,
    cluster_id: str,
    brokers: int,
    *,
    timeout_s: float,
    on_wait: Callable[[], None],
    now: Callable[[], float] = time.monotonic,
) -> bool:
    """Return True once `brokers` brokers of this cluster answer for all their partitions, False after timeout_s.

    on_wait runs before each question; what it raises ends the waiting. The cluster's id tells our broker
    from another program's that took the port.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": bootstrap_servers,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 50,
        "log_level": 0,  # a refused connection is no news here
        "error_cb": _ignore,
    }
    client = AdminClient(config)
    deadline = now() + timeout_s
    while now() < deadline:
        on_wait()
        try:
            told = client.list_topics(timeout=_POLL_S)
        except KafkaException:
            continue
        if told.cluster_id == cluster_id and len(told.brokers) >= brokers and _all_answer(client, told):
            return True
    return False


def _all_answer(client: AdminClient, told: ClusterMetadata) -> bool:
    """Whether every partition of an earlier run has its leader, and the leader knows that it is."""
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {
        TopicPartition(name, partition): latest
        for name, topic in told.topics.items()
        for partition in topic.partitions
    }
    if not asked:
        return True
    try:
        for answer in client.list_offsets(asked, request_timeout=_POLL_S).values():
            answer.result()
    except KafkaException:
        return False
    return True


def _ignore(_error: object) -> None:
    pass
