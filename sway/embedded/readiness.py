"""Waits until a broker answers on Kafka's own protocol."""

import time
from collections.abc import Callable, Collection
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs forget to export these
    AdminClient,
    ClusterMetadata,
    OffsetSpec,
)

_POLL_S = 0.5  # the longest that one question waits, so that a dead broker is noticed


def await_broker(
    address: str,
    cluster_id: str,
    running: Collection[int],
    *,
    timeout_s: float,
    on_wait: Callable[[], None],
    now: Callable[[], float] = time.monotonic,
) -> bool:
    """Return True once the broker at this address is ready, False after timeout_s.

    Ready: it knows all the brokers that run, and each of their partitions has a leader that answers, and every
    replica on them in sync. running: their node ids. on_wait runs before each question; what it raises ends the
    waiting. The cluster's id tells our broker from another program's that took the port.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": address,
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
        known = told.cluster_id == cluster_id and told.brokers.keys() >= set(running)
        if known and _all_answer(client, told, set(running)):
            return True
    return False


def _all_answer(client: AdminClient, told: ClusterMetadata, running: set[int]) -> bool:
    """Whether every partition of an earlier run has its leader, and the leader knows that it is.

    A partition with no replica on a running broker is nobody's to answer for.
    """
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {}
    for name, topic in told.topics.items():
        for number, partition in topic.partitions.items():
            replicas = running.intersection(partition.replicas)
            if not replicas <= set(partition.isrs):
                return False
            if replicas:
                asked[TopicPartition(name, number)] = latest
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
