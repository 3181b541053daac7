"""Lists the last stable offsets and high watermarks of partitions."""

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
    """Lists end offsets with a client of its own, because the aiokafka client may have stalled.

    The client is replaced after an incomplete answer.
    """

    def __init__(self, client_config: Mapping[str, str]) -> None:
        self._config: dict[str, Any] = {
            **client_config,
            "log.connection.close": False,
            "reconnect.backoff.max.ms": 1000,
            "logger": logger,
        }
        self._admin: AdminClient | None = None

    def fetch(
        self, partitions: Iterable[TopicPartition], timeout_s: float = _CALL_TIMEOUT_S
    ) -> dict[TopicPartition, Ends]:
        """Return the end offsets of the partitions that could be listed. Blocks for up to twice timeout_s.

        High watermarks are listed first, so records written in between count as stable and not as part of an open
        transaction.
        """
        requested = [KafkaTopicPartition(tp.topic, tp.partition) for tp in partitions]
        if not requested:
            return {}
        admin, self._admin = self._admin or AdminClient(self._config), None
        high = _list(admin, requested, IsolationLevel.READ_UNCOMMITTED, timeout_s)
        stable = _list(admin, requested, IsolationLevel.READ_COMMITTED, timeout_s)
        if len(stable) == len(requested):
            self._admin = admin
        return {tp: Ends(stable[tp], max(high[tp], stable[tp])) for tp in high.keys() & stable.keys()}


def _list(
    admin: AdminClient, requested: list[KafkaTopicPartition], isolation: IsolationLevel, timeout_s: float
) -> dict[TopicPartition, int]:
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    answers = admin.list_offsets(
        dict.fromkeys(requested, latest), isolation_level=isolation, request_timeout=timeout_s
    )
    ends = {}
    for tp, future in answers.items():
        try:
            ends[TopicPartition(tp.topic, tp.partition)] = int(future.result(2 * timeout_s).offset)
        except (KafkaException, TimeoutError):  # no leader or no answer; retried soon
            continue
    return ends
