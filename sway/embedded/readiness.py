"""Waiting for a broker to become ready."""

import time
from collections.abc import Callable, Collection
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not exported by its stubs
    AdminClient,
    ClusterMetadata,
    OffsetSpec,
)

# The timeout of one request, so that the exit of a broker is noticed.
_POLL_S = 0.5


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

    A broker is ready if its metadata contains all running brokers, each partition on them has a responsive leader, and
    all replicas on them are in sync. running: the node ids of the running brokers. on_wait is called before each
    request; an exception from it ends the wait. The cluster id distinguishes our broker from another one that took the
    port.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": address,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 50,
        # Refused connections are expected here.
        "log_level": 0,
        "error_cb": _ignore,
    }
    client = AdminClient(config)
    deadline = now() + timeout_s
    while now() < deadline:
        on_wait()
        try:
            metadata = client.list_topics(timeout=_POLL_S)
        except KafkaException:
            continue
        known = metadata.cluster_id == cluster_id and metadata.brokers.keys() >= set(running)
        if known and _all_responsive(client, metadata, set(running)):
            return True
    return False


def _all_responsive(client: AdminClient, metadata: ClusterMetadata, running: set[int]) -> bool:
    """Return whether the leader of every existing partition responds, and its running replicas are in sync.

    Partitions without a replica on a running broker are ignored.
    """
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    requests = {}
    for name, topic in metadata.topics.items():
        for number, partition in topic.partitions.items():
            replicas = running.intersection(partition.replicas)
            if not replicas <= set(partition.isrs):
                return False
            if replicas:
                requests[TopicPartition(name, number)] = latest
    if not requests:
        return True
    try:
        for answer in client.list_offsets(requests, request_timeout=_POLL_S).values():
            answer.result()
    except KafkaException:
        return False
    return True


def _ignore(_error: object) -> None:
    pass
