"""Consumers for reading committed records outside a consumer group."""

import logging
from collections.abc import Mapping

from confluent_kafka import Consumer

logger = logging.getLogger(__name__)


def reader(client_config: Mapping[str, str], group_id: str, **extra: str | int | bool) -> Consumer:
    """Return a read_committed consumer that does not subscribe or commit, and reports the end of each partition.

    group_id: required by Kafka's clients. extra: further settings with librdkafka's names.
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
