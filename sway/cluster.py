"""The cluster operations of the commands. Kafka errors become CommandError here."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not exported by its stubs
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from stream.settings import KafkaSettings
from stream.worker.input_limits import AFTER_MAX_MS
from sway.errors import CommandError
from sway.topic_plan import UNLIMITED_RETENTION, TopicPlan

QUIET: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None}
"""Client settings without logging, for commands that report errors themselves."""

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The metadata of a cluster."""

    brokers: int
    partition_counts: Mapping[str, int]
    replicas: Mapping[str, int] = field(default_factory=dict)
    """By topic: the number of replicas of its partition with the fewest."""


class Cluster:
    """A connection to a cluster. Raises CommandError if no broker is reachable within the timeout."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        try:
            self._admin = AdminClient({**settings.client_config(), **QUIET})
        except KafkaException as exc:
            raise CommandError(f"the Kafka client rejects its settings: {reason(exc)}") from exc
        self.view()

    def view(self) -> ClusterView:
        """Return the current brokers and topics."""
        timeout_s = self._settings.connect_timeout_s
        try:
            metadata = self._admin.list_topics(timeout=timeout_s)
        except KafkaException as exc:
            raise CommandError(
                f"no Kafka broker answers at {self._settings.bootstrap_servers} within {timeout_s:g} s "
                f"({reason(exc)}): start one with `sway up`, or set SWAY_KAFKA__BOOTSTRAP_SERVERS"
            ) from exc
        counts = {name: len(topic.partitions) for name, topic in metadata.topics.items()}
        replicas = {
            name: min((len(partition.replicas) for partition in topic.partitions.values()), default=0)
            for name, topic in metadata.topics.items()
        }
        return ClusterView(len(metadata.brokers), counts, replicas)

    def create(self, plans: Sequence[TopicPlan], replication: int | None) -> list[str]:
        """Create topics and wait until they are in the metadata.

        replication: None means one replica per broker, at most 3; with 3 or more, min.insync.replicas is 2.
        Returns the topics created without a limit on future timestamps, because the brokers do not support one.
        Raises CommandError with each topic that could not be created and the reason; an existing topic is one.
        """
        if not plans:
            return []
        from stream.exactly_once.units.replication import replicas_for

        replicas = replicas_for(self.view().brokers, replication)
        failures = self._try_to_create(plans, replicas)
        without = [
            plan
            for plan in plans
            if AFTER_MAX_MS in plan.config and AFTER_MAX_MS in failures.get(plan.name, "")
        ]
        for plan in without:
            del failures[plan.name]
        failures |= self._try_to_create([plan.without(AFTER_MAX_MS) for plan in without], replicas)
        if failures:
            problems = ", ".join(f"{name} ({failure})" for name, failure in failures.items())
            raise CommandError(f"cannot create {problems}")
        self._await_metadata({plan.name for plan in plans})
        return [plan.name for plan in without]

    def _try_to_create(self, plans: Sequence[TopicPlan], replicas: int) -> dict[str, str]:
        """Create topics; return the reason of each failure, by topic."""
        from stream.exactly_once.units.replication import replication_config

        config = replication_config(replicas)
        new = [
            NewTopic(plan.name, plan.partitions, replicas, config={**config, **plan.config}) for plan in plans
        ]
        if not new:
            return {}
        futures = self._admin.create_topics(new)
        return {name: failure for name, future in futures.items() if (failure := _failure(future))}

    def retention_ms(self, topic: str) -> int | None:
        """Return the retention of a topic in ms, or None if unlimited."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            configs = self._admin.describe_configs([resource])[resource].result(
                self._settings.connect_timeout_s
            )
        except KafkaException as exc:
            raise CommandError(f"cannot read the configuration of {topic}: {reason(exc)}") from exc
        retention = int(configs["retention.ms"].value)
        return retention if retention >= 0 else None

    def remove_retention(self, topic: str) -> None:
        """Give a topic unlimited retention."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        for name, value in UNLIMITED_RETENTION.items():
            resource.add_incremental_config(
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            )
        failure = _failure(self._admin.incremental_alter_configs([resource])[resource])
        if failure:
            raise CommandError(f"cannot change the retention of {topic}: {failure}")

    def _await_metadata(self, names: set[str]) -> None:
        deadline = time.monotonic() + self._settings.connect_timeout_s
        while not names <= self.view().partition_counts.keys():
            if time.monotonic() > deadline:
                raise CommandError(
                    f"{', '.join(sorted(names))} were created, but are not in the brokers' metadata"
                )
            time.sleep(_POLL_S)


def reason(exc: KafkaException) -> str:
    """Return the message of a Kafka error, without its code."""
    error = exc.args[0] if exc.args else exc
    return str(error.str()) if hasattr(error, "str") else str(error)


def _failure(future: "Future[None]") -> str | None:
    try:
        future.result()
    except KafkaException as exc:
        return reason(exc)
    return None
