"""Announcements of versions on sway.models."""

import time
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException, Producer

from schemas.records import ModelAnnouncement
from schemas.wire import Codec

_FLUSH_S = 10.0


class Announcer:
    """Produces ModelAnnouncements; each call returns once the broker has acknowledged the record.

    client_config: connection settings under librdkafka's names.
    A trainer that is killed right after an announcement repeats it at its next start, so consumers may see duplicates.
    The registry is authoritative.
    """

    def __init__(
        self,
        client_config: Mapping[str, str],
        topic: str,
        codec: Codec[ModelAnnouncement] | None = None,
        *,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._topic = topic
        self._codec = codec or Codec(ModelAnnouncement)
        self._now_ms = now_ms
        self._producer = Producer(
            {**client_config, "enable.idempotence": True, "linger.ms": 0, "log_level": 0}
        )

    def __call__(self, version: str, event: str, reason: str, metrics: Mapping[str, float]) -> None:
        """Announce a version.

        event: published, promoted, rejected or rolled_back. Raises KafkaException, or TimeoutError without an
        acknowledgement within 10 s.
        """
        failed: list[KafkaException] = []
        record = ModelAnnouncement(version, event, self._now_ms(), reason, dict(metrics))
        self._producer.produce(
            self._topic,
            self._codec.encode(record),
            version.encode(),
            on_delivery=lambda error, _: failed.append(KafkaException(error)) if error is not None else None,
        )
        if self._producer.flush(_FLUSH_S):
            raise TimeoutError(f"an announcement to {self._topic} was not acknowledged within {_FLUSH_S:g} s")
        if failed:
            raise failed[0]
