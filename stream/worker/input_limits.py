"""Checks whether the broker rejects input records with timestamps far in the future."""

import logging
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs forget to export these
    AdminClient,
    ConfigResource,
    ResourceType,
)

from stream.settings import Settings

logger = logging.getLogger(__name__)

AFTER_MAX_MS = "message.timestamp.after.max.ms"
"""Limits how far a record's timestamp may be ahead of the broker's clock; since Kafka 3.6, limited by default in 4."""

_TYPE = "message.timestamp.type"
_LEAST_MS = 3_600_000  # Kafka 4's default


def find_unlimited(configs: Mapping[str, Mapping[str, str]], limit_ms: int) -> list[str]:
    """Return the topics that accept records further ahead than limit_ms, or than one hour if that is more.

    configs: the configuration of each topic, by name.
    """
    most_ms = max(limit_ms, _LEAST_MS)
    return [
        topic
        for topic, config in configs.items()
        if config.get(_TYPE) != "LogAppendTime"
        and (AFTER_MAX_MS not in config or int(config[AFTER_MAX_MS]) > most_ms)
    ]


def read_topic_configs(
    admin: AdminClient, topics: Sequence[str], timeout_s: float
) -> dict[str, dict[str, str]]:
    """Return the configuration of topics, by name. Raises KafkaException, TimeoutError."""
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    futures = admin.describe_configs(resources, request_timeout=timeout_s)
    return {
        resource.name: {name: entry.value for name, entry in future.result(timeout_s).items()}
        for resource, future in futures.items()
    }


def warn_of_unlimited_inputs(settings: Settings) -> None:
    """Log a warning for each input that accepts records from the far future; only INFO without permission to ask."""
    topics = [settings.topics.events, *([settings.topics.outcomes] if settings.labels.outcomes else [])]
    try:
        admin = AdminClient({**settings.kafka.client_config()})
        configs = read_topic_configs(admin, topics, settings.kafka.connect_timeout_s)
    except (KafkaException, TimeoutError) as exc:
        logger.info("Cannot read the configuration of %s: %s", " and ".join(topics), exc)
        return
    for topic in find_unlimited(configs, round(settings.topics.max_ahead_s * 1000)):
        logger.warning(
            "%s accepts records from the far future, so producers with wrong clocks are not rejected. Set %s=%d on it.",
            topic,
            AFTER_MAX_MS,
            round(settings.topics.max_ahead_s * 1000),
        )
