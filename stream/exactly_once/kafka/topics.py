"""Checks the input topics and creates the changelogs, before anything is consumed."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs forget to export these
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from clients.transient import is_transient
from stream.exactly_once.kafka.offsets import Cancelled
from stream.exactly_once.kafka.recovery import Changelog
from stream.exactly_once.units.errors import StartError, TopicGoneError
from stream.exactly_once.units.replication import replicas_for, replication_config

logger = logging.getLogger(__name__)

_DELETE_RETENTION_MS = 86_400_000  # Kafka's own default
_RETRY_PAUSE_S = 0.05
_CALL_TIMEOUT_S = 5.0
_GONE_AFTER_S = 5.0
_CHANGELOG_CONFIG = {"cleanup.policy": "compact"}


def partition_counts(client_config: Mapping[str, str], timeout_s: float) -> dict[str, int]:
    """Return the partition count of every topic.

    Raises StartError when no broker answers within timeout_s.
    """
    try:
        metadata = AdminClient({**client_config}).list_topics(timeout=timeout_s)
    except KafkaException as exc:
        raise StartError(
            f"No Kafka broker answers at {client_config.get('bootstrap.servers')} within {timeout_s:g} s "
            f"({exc.args[0].str()}). Check kafka.bootstrap_servers and that the cluster is up."
        ) from exc
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def check_inputs(counts: Mapping[str, int], input_topics: Sequence[str]) -> int:
    """Return the partition count that all input topics share.

    Raises StartError that names missing topics or differing counts.
    """
    missing = [topic for topic in input_topics if topic not in counts]
    if missing:
        raise StartError(f"These input topics do not exist: {', '.join(missing)}. Create them first.")
    found = {topic: counts[topic] for topic in input_topics}
    if len(set(found.values())) != 1:
        listing = ", ".join(f"{topic} has {count}" for topic, count in found.items())
        raise StartError(
            f"All input topics need the same partition count, so that a user maps to one partition: {listing}."
        )
    return next(iter(found.values()))


def ensure_changelogs(
    client_config: Mapping[str, str],
    input_topics: Sequence[str],
    changelogs: Mapping[str, str],
    *,
    replication: int | None,
    timeout_s: float,
) -> list[Changelog]:
    """Create missing changelog topics and describe all of them, in the given order.

    changelogs: topic by table name. replication: replication factor of created topics; None: the number of brokers, at
    most 3. Raises StartError for missing inputs and for differing partition counts.
    """
    counts = partition_counts(client_config, timeout_s)
    partitions = check_inputs(counts, input_topics)
    admin = AdminClient({**client_config})
    missing = [topic for topic in changelogs.values() if topic not in counts]
    if missing:
        replicas = replication or replicas_for(len(admin.list_topics(timeout=timeout_s).brokers))
        config = _CHANGELOG_CONFIG | replication_config(replicas)
        new = [NewTopic(topic, partitions, replicas, config=config) for topic in missing]
        for topic, future in admin.create_topics(new, operation_timeout=timeout_s).items():
            try:
                future.result(timeout_s)
            except KafkaException as exc:
                if exc.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # created by another worker
                    raise StartError(
                        f"Cannot create the changelog topic {topic}: {exc.args[0].str()}"
                    ) from exc
            except TimeoutError as exc:
                raise StartError(
                    f"The changelog topic {topic} was not created within {timeout_s:g} s: the controller does not "
                    "answer. Check that the brokers are up and restart."
                ) from exc
    for topic in changelogs.values():
        if counts.get(topic, partitions) != partitions:
            raise StartError(
                f"The changelog {topic} has {counts[topic]} partitions, its inputs have {partitions}: partitions were "
                "added to the inputs, so users have moved between partitions. Replay into a new app_id."
            )
    return _describe(client_config, changelogs, timeout_s) if changelogs else []


def _describe(
    client_config: Mapping[str, str], changelogs: Mapping[str, str], timeout_s: float
) -> list[Changelog]:
    """Describe topics that may have just been created: not every broker knows them immediately.

    Each attempt uses a new client, because a client keeps waiting for a controller that is gone.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return _describe_once(AdminClient({**client_config}), changelogs, timeout_s)
        except KafkaException as exc:
            error = exc.args[0]
            passing = error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART or is_transient(error)
            if not passing or time.monotonic() > deadline:
                raise StartError(f"Cannot describe the changelog topics: {error.str()}") from exc
        except TimeoutError as exc:
            if time.monotonic() > deadline:
                raise StartError(
                    f"Cannot describe the changelog topics: no answer within {timeout_s:g} s. Check that the "
                    "brokers are up and restart."
                ) from exc
        time.sleep(_RETRY_PAUSE_S)


def _describe_once(admin: AdminClient, changelogs: Mapping[str, str], timeout_s: float) -> list[Changelog]:
    ids = admin.describe_topics(TopicCollection(list(changelogs.values())), request_timeout=timeout_s)
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in changelogs.values()]
    configs = {
        resource.name: future.result(timeout_s)
        for resource, future in admin.describe_configs(resources, request_timeout=timeout_s).items()
    }
    described = []
    for table, topic in changelogs.items():
        retention = configs[topic].get("delete.retention.ms")
        described.append(
            Changelog(
                table,
                topic,
                str(ids[topic].result(timeout_s).topic_id),
                int(retention.value) if retention is not None else _DELETE_RETENTION_MS,
            )
        )
    return described


class TopicIds:
    """Fetches topic ids, reusing one client until a request fails.

    librdkafka sends the request to the controller of its last metadata and keeps waiting for it after it is gone.
    """

    def __init__(self, client_config: Mapping[str, str], topics: Sequence[str]) -> None:
        self._config: dict[str, Any] = {
            **client_config,
            "log.connection.close": False,
            "reconnect.backoff.max.ms": 1000,
            "logger": logger,
        }
        self._admin: AdminClient | None = None
        self._gone_since: dict[str, float] = {}  # topics missing in the last answer
        self._topics = list(topics)

    def fetch(self, timeout_s: float = _CALL_TIMEOUT_S) -> dict[str, str]:
        """Return the topic ids by topic.

        Raises TopicGoneError if a topic has been missing for longer than _GONE_AFTER_S, since a broker that has just
        restarted may not know its topics yet; until then, and if no broker answers, KafkaException.
        """
        admin, self._admin = self._admin or AdminClient(self._config), None
        found = admin.describe_topics(TopicCollection(self._topics), request_timeout=timeout_s)
        ids = {}
        for topic, future in found.items():
            try:
                ids[topic] = str(future.result(2 * timeout_s).topic_id)
            except KafkaException as exc:
                if exc.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART and self._is_gone(topic):
                    raise TopicGoneError(f"The topic {topic} no longer exists.") from exc
                raise
            self._gone_since.pop(topic, None)
        self._admin = admin
        return ids

    def _is_gone(self, topic: str) -> bool:
        """Record that a topic is missing, and return whether it has been missing for longer than _GONE_AFTER_S."""
        now = time.monotonic()
        return now - self._gone_since.setdefault(topic, now) > _GONE_AFTER_S

    def wait(self, cancelled: Callable[[], bool]) -> dict[str, str]:
        """Retry `fetch` until a broker answers. Raises Cancelled, TopicGoneError."""
        while not cancelled():
            try:
                return self.fetch()
            except (KafkaException, TimeoutError) as exc:
                logger.info("Cannot describe the topics yet: %s", exc)
            time.sleep(_RETRY_PAUSE_S)
        raise Cancelled
