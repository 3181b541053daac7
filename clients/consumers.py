"""Consumers that read committed records and leave no trace in a group."""

import logging
from collections.abc import Mapping

from confluent_kafka import Consumer

logger = logging.getLogger(__name__)


def reader(client_config: Mapping[str, str], group_id: str, **extra: str | int | bool) -> Consumer:
    """Return a consumer that neither subscribes nor commits, and tells the end of each partition.

    group_id: Kafka's clients require one. extra: further settings under librdkafka's names.
    """
    return Consumer(
        {
            **client_config,
            "group.id": group_id,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "retry.backoff.ms": 20,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 1000,
            "log.connection.close": False,
            "logger": logger,
            **extra,
        }
    )
