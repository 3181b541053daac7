"""Asks the brokers where partitions end, for readers of committed records and for all."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from stream.exactly_once.units.lag import Ends
from stream.exactly_once.units.records import TopicPartition

logger = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 2.0


class InputEnds:
    """Asks by one client for as long as it gets answers; that of aiokafka may be what has stopped."""

    def __init__(self, client_config: Mapping[str, str]) -> None:
        self._config: dict[str, Any] = {
            **client_config,
            "log.connection.close": False,
            "reconnect.backoff.max.ms": 1000,
            "logger": logger,
        }
        self._admin: AdminClient | None = None

    def ask(
        self, partitions: Iterable[TopicPartition], timeout_s: float = _CALL_TIMEOUT_S
    ) -> dict[TopicPartition, Ends]:
        """Return the ends of the partitions that somebody answers for. Blocks for up to twice timeout_s.

        The high watermarks are asked for first: what is written in between is then taken for stable, never for open.
        """
        asked = [KafkaTopicPartition(tp.topic, tp.partition) for tp in partitions]
        if not asked:
            return {}
        admin, self._admin = self._admin or AdminClient(self._config), None
        high = _list(admin, asked, IsolationLevel.READ_UNCOMMITTED, timeout_s)
        stable = _list(admin, asked, IsolationLevel.READ_COMMITTED, timeout_s)
        if len(stable) == len(asked):
            self._admin = admin
        return {tp: Ends(stable[tp], max(high[tp], stable[tp])) for tp in high.keys() & stable.keys()}


def _list(
    admin: AdminClient, asked: list[KafkaTopicPartition], isolation: IsolationLevel, timeout_s: float
) -> dict[TopicPartition, int]:
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    answers = admin.list_offsets(
        dict.fromkeys(asked, latest), isolation_level=isolation, request_timeout=timeout_s
    )
    ends = {}
    for tp, future in answers.items():
        try:
            ends[TopicPartition(tp.topic, tp.partition)] = int(future.result(2 * timeout_s).offset)
        except (KafkaException, TimeoutError):  # no leader, or nobody answers: asked again soon
            continue
    return ends
