"""A producer of encoded records to one topic that counts acknowledged records."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream.settings import PARTITIONER
from sway.cluster import QUIET, reason
from sway.errors import CommandError
from sway.load.rows import RowError
from sway.load.targets import too_large

_DELIVERY_TIMEOUT_MS = 60_000
_WAIT_S = 0.1
_FLUSH_S = _DELIVERY_TIMEOUT_MS / 1000 + 10


class Sender:
    """An idempotent producer that uses Sway's partitioner, so that each user goes to the expected partition.

    first_failed: the mark of the first send_all call with an undelivered record, else None.
    """

    def __init__(self, client_config: Mapping[str, str], topic: str) -> None:
        self._topic = topic
        self._first_error = ""
        self._queued = 0
        self._lost = 0
        self._calls = 0
        self._first_failed_call = 0
        self.first_failed: Any = None
        self._producer = Producer(
            {
                **client_config,
                **QUIET,
                "partitioner": PARTITIONER,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 20,
                "message.timeout.ms": _DELIVERY_TIMEOUT_MS,
                # A Python callback for every record would take a fifth of the total time.
                "delivery.report.only.error": True,
            }
        )

    @property
    def acknowledged(self) -> int:
        """Number of acknowledged records."""
        return self._queued - self._lost - len(self._producer)

    def send(self, key: bytes, value: bytes, timestamp_ms: int) -> None:
        """Queue a record; block while the queue is full.

        Raises RowError if the record is too large, CommandError if an earlier record was not delivered.
        """
        if not self.send_all([key], [value], [timestamp_ms]):
            raise RowError(too_large(value))

    def send_all(
        self, keys: Sequence[bytes], values: Sequence[bytes], times_ms: Sequence[int], mark: Any = None
    ) -> int:
        """Queue records in their order; block while the queue is full.

        mark: an identifier of this call, see first_failed. Returns the number of queued records, which is smaller than
        given if the next record is too large. Raises CommandError if an earlier record was not delivered.
        """
        self._calls += 1
        failed = partial(self._failed, self._calls, mark)
        topic, produce, poll = self._topic, self._producer.produce, self._producer.poll
        for index, (key, value, time_ms) in enumerate(zip(keys, values, times_ms, strict=True)):
            while True:
                try:
                    produce(topic, value, key, timestamp=time_ms, on_delivery=failed)
                    break
                except BufferError:
                    poll(_WAIT_S)
                    self._check()
                except KafkaException as exc:
                    self._queued += index
                    if exc.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                        return index
                    raise CommandError(f"cannot send to {topic}: {reason(exc)}") from exc
        self._queued += len(keys)
        poll(0)
        self._check()
        return len(keys)

    def flush(self) -> None:
        """Wait until all records are acknowledged. Raises CommandError if one was not delivered."""
        waiting = self._producer.flush(_FLUSH_S)
        if waiting:
            # A purge counts the remaining records as lost.
            self._producer.purge()
            self._producer.flush(_FLUSH_S)
        self._check()

    def _failed(self, call: int, mark: Any, error: Any, _message: Message) -> None:
        if error is None:
            return
        self._lost += 1
        self._first_error = self._first_error or error.str()
        if self.first_failed is None or call < self._first_failed_call:
            self._first_failed_call, self.first_failed = call, mark

    def _check(self) -> None:
        if self._lost:
            raise CommandError(
                f"{self._lost} records were not delivered to {self._topic} ({self._first_error}); "
                f"{self.acknowledged} were. Sending the file again duplicates these, which Sway flags"
            )
