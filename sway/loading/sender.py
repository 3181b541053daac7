"""Sends encoded records to one topic and keeps account of what the broker took."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream.settings import PARTITIONER
from sway.cluster import QUIET, reason
from sway.errors import CommandError
from sway.loading.rows import RowError

_GIVE_UP_MS = 60_000
_FLUSH_S = _GIVE_UP_MS / 1000 + 10


class Sender:
    """An idempotent producer that puts one user into the partition where Sway expects it.

    Source: DESIGN section 2, the partitioner.
    """

    def __init__(self, client_config: Mapping[str, str], topic: str) -> None:
        self._topic = topic
        self._first_error = ""
        self._lost = 0
        self.acknowledged = 0
        self._producer = Producer(
            {
                **client_config,
                **QUIET,
                "partitioner": PARTITIONER,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 20,
                "message.timeout.ms": _GIVE_UP_MS,
            }
        )

    def send(self, key: bytes, value: bytes, timestamp_ms: int) -> None:
        """Queue a record; waits while the queue is full.

        Raises RowError if the record is too large, CommandError if the broker refused an earlier one.
        """
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key, timestamp=timestamp_ms, on_delivery=self._delivered
                )
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as exc:
                if exc.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise RowError(f"{len(value)} bytes are more than Kafka takes") from exc
                raise CommandError(f"cannot send to {self._topic}: {reason(exc)}") from exc
        self._producer.poll(0)
        self._check()

    def flush(self) -> None:
        """Wait until the broker has taken everything. Raises CommandError if it did not."""
        waiting = self._producer.flush(_FLUSH_S)
        self._check()
        if waiting:
            raise CommandError(f"{waiting} records are still waiting for {self._topic} after {_FLUSH_S:g} s")

    def _delivered(self, error: Any, _message: Message) -> None:
        if error is None:
            self.acknowledged += 1
            return
        self._lost += 1
        self._first_error = self._first_error or error.str()

    def _check(self) -> None:
        if self._lost:
            raise CommandError(
                f"{self._topic} did not take {self._lost} records ({self._first_error}); it took "
                f"{self.acknowledged}. Sending the file again makes duplicates of these, which Sway flags"
            )
