"""Writes ticks to idle partitions, so that their labels become due; does the I/O for stream.scoring.labels.ticks."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import KafkaException, Message, Producer

from schemas.records import Outcome
from schemas.wire import Codec
from stream.scoring.labels.labelling import Labels
from stream.scoring.labels.ticks import TICK_USER, TickTimes, tick_at

logger = logging.getLogger(__name__)

_TIMEOUT_MS = 20_000


class Ticker:
    """Checks the worker's partitions periodically and writes a tick where one is due.

    labels: with their tables set. topic: the outcomes topic. make_producer: called at the first tick.
    Use it on the thread that reads the tables; it never blocks on a broker.
    """

    def __init__(self, labels: Labels, topic: str, make_producer: Callable[[], Producer]) -> None:
        self._labels = labels
        self._topic = topic
        self._make_producer = make_producer
        self._producer: Producer | None = None
        self._times = TickTimes(labels.settings.step_ms)
        # Consumers accept both wire formats, and this one needs no registration.
        self._codec = Codec(Outcome)
        self._refused = False

    def look(self, partitions: Iterable[int]) -> None:
        """Write the ticks that are due. partitions: those whose records have all been read."""
        if self._producer is not None:
            self._producer.poll(0)
        idle = set(partitions)
        self._times.retain(idle)
        for partition in idle:
            stream_at = self._labels.stream_at(partition)
            now_ms = time.monotonic_ns() // 1_000_000
            if stream_at and self._times.is_idle(partition, stream_at, now_ms):
                next_due_at = partial(self._labels.next_due_at, partition)
                at_ms = self._times.due(partition, next_due_at, now_ms, int(time.time() * 1000))
                if at_ms is not None:
                    self._send(partition, at_ms)

    def _send(self, partition: int, at_ms: int) -> None:
        if self._producer is None:
            self._producer = self._make_producer()
        try:
            self._producer.produce(
                self._topic,
                self._codec.encode(tick_at(at_ms)),
                TICK_USER,
                partition=partition,
                on_delivery=self._delivered,
            )
        except KafkaException as exc:  # a broker that has just started does not know its topics yet
            self._delivered(exc.args[0], None)
        except BufferError:  # the brokers are unreachable; the tick is repeated
            pass

    def _delivered(self, error: Any, _message: Message | None) -> None:
        if error is not None and not self._refused:
            logger.warning(
                "Cannot write a tick to %s (%s): labels of idle partitions wait for the next record. "
                "Allow this worker to write to the topic, or set labels.ticks=false.",
                self._topic,
                error.str(),
            )
        self._refused = error is not None


def make_tick_producer(client_config: Mapping[str, str]) -> Producer:
    """Create the producer of ticks."""
    return Producer(
        {**client_config, "message.timeout.ms": _TIMEOUT_MS, "log.connection.close": False, "logger": logger}
    )
