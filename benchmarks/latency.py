"""End-to-end latency from producing an event until a read_committed consumer gets its score, without the model."""

import threading
import time

import numpy as np
from confluent_kafka import Producer

from benchmarks.movies import events
from benchmarks.reader import Reader
from benchmarks.rows import Row
from benchmarks.stand import Program, Stand
from schemas.records import BehaviorEvent, InfluenceScore
from schemas.wire import Codec
from stream.settings import PARTITIONER

EVENTS_PER_S = 200
_WARM = 200
_MEASURED = 2_000
_TOPIC = "latency.events"


def rows(stand: Stand) -> list[Row]:
    """Produce at a steady rate while a worker runs, starting with its first score."""
    stand.create_topics(_TOPIC)
    feeder = Feeder(stand.servers, 1 + _WARM + _MEASURED, EVENTS_PER_S, _TOPIC)
    with (
        stand.program("latency", "benchmarks.sway_worker", "free", TOPICS__EVENTS=_TOPIC) as program,
        Reader(stand, "latency", at_once=True) as reader,
    ):
        measured_ms = latencies_ms(feeder, reader, program)
    p50, p99 = np.percentile(measured_ms[-_MEASURED:], [50, 99])
    return [
        Row.informing(f"latency at {EVENTS_PER_S} events/s, p50", float(p50), "ms"),
        Row.informing(f"latency at {EVENTS_PER_S} events/s, p99", float(p99), "ms"),
    ]


def latencies_ms(feeder: "Feeder", reader: Reader, program: Program) -> list[float]:
    """Let a feeder produce all its events; return their latencies in milliseconds, in the order of the scores."""
    decode = Codec(InfluenceScore).decode
    measured_ms: list[float] = []
    feeder.produce_next()
    for now, messages in reader.arrivals(program):
        if not measured_ms:
            feeder.start()
        measured_ms += [
            (now - feeder.produced[decode(message.value()).event_id]) * 1e3 for message in messages
        ]
        if len(measured_ms) == feeder.number:
            break
    feeder.join()
    return measured_ms


class Feeder(threading.Thread):
    """Produces one event, then the others at a steady rate, and records when each was produced.

    per_s: events per second.
    """

    def __init__(self, servers: str, number: int, per_s: float, topic: str) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.produced: dict[str, float] = {}
        self._per_s, self._topic = per_s, topic
        self._events = events(number)
        self._producer = Producer({"bootstrap.servers": servers, "partitioner": PARTITIONER, "linger.ms": 0})
        self._encode = Codec(BehaviorEvent).encode

    def produce_next(self) -> None:
        """Produce the next event now."""
        event = next(self._events)
        self.produced[event.event_id] = time.monotonic()
        self._producer.produce(self._topic, self._encode(event), event.user_id)
        self._producer.poll(0)

    def run(self) -> None:
        """Produce the remaining events."""
        began = time.monotonic()
        for index in range(1, self.number):
            ahead_s = index / self._per_s - (time.monotonic() - began)
            if ahead_s > 0:
                time.sleep(ahead_s)
            self.produce_next()
        self._producer.flush()
