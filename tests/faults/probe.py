"""Measures when brokers can commit again, with clients that share nothing with Sway's workers.

A broker that accepts connections, or a new leader of a partition, is not enough for a commit: the coordinators must
have been moved and loaded, and the markers of earlier transactions written.
"""

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from sway.embedded.properties import INTERNAL_PARTITIONS
from tests.support.leaders import coordinator_partition

_CALL_TIMEOUT_S = 5.0
_PATIENCE_S = 90.0
_PAUSE_S = 0.2
_QUIET: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None}


class Probe:
    """Commits transactions through the coordinators that the workers depend on.

    topic: with partitions 0 to partitions - 1; nobody else reads or writes it. internal: the partitions of Kafka's
    internal topics whose coordinators to use.
    """

    def __init__(self, servers: str, topic: str, partitions: int, internal: list[tuple[str, int]]) -> None:
        self._servers = {"bootstrap.servers": servers, **_QUIET}
        self._where = [TopicPartition(topic, number) for number in range(partitions)]
        (group,) = (number for name, number in internal if name == "__consumer_offsets")
        self._group = _name_at(group)
        self._ids = [_name_at(number) for name, number in internal if name == "__transaction_state"]

    def wait(self) -> float:
        """Wait until each coordinator has committed two transactions in a row; return the time by time.monotonic.

        A second transaction begins only when the markers of the first are written.
        """
        deadline = time.monotonic() + _PATIENCE_S
        for transactional_id in self._ids:
            while True:
                try:
                    self._commit_twice(transactional_id)
                    break
                except KafkaException:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_PAUSE_S)
        return time.monotonic()

    def _commit_twice(self, transactional_id: str) -> None:
        producer = Producer({**self._servers, "transactional.id": transactional_id})
        consumer = Consumer({**self._servers, "group.id": self._group})
        try:
            producer.init_transactions(_CALL_TIMEOUT_S)
            for offset in range(2):
                producer.begin_transaction()
                for where in self._where:
                    producer.produce(where.topic, b"probe", partition=where.partition)
                offsets = [TopicPartition(where.topic, where.partition, offset) for where in self._where]
                group = consumer.consumer_group_metadata()
                producer.send_offsets_to_transaction(offsets, group, _CALL_TIMEOUT_S)
                producer.commit_transaction(_CALL_TIMEOUT_S)
        finally:
            consumer.close()


def _name_at(partition: int) -> str:
    """Return a group or transactional id whose coordinator leads a partition of the internal topic."""
    names: Iterator[str] = (f"probe-{number}" for number in count())
    return next(name for name in names if coordinator_partition(name, INTERNAL_PARTITIONS) == partition)
