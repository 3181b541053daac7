"""How long an event takes until a read_committed reader sees its score, at a modest rate and without the model."""

import threading
import time

import numpy as np
from confluent_kafka import Producer

from benchmarks.movies import events
from benchmarks.reader import Reader
from benchmarks.rows import Row
from benchmarks.stand import Stand
from schemas.records import BehaviorEvent, InfluenceScore
from schemas.wire import Codec
from stream.settings import PARTITIONER

PER_S = 200
_WARM = 200
_MEASURED = 2_000
_TOPIC = "latency.events"


def rows(stand: Stand) -> list[Row]:
    """Produce at a steady rate while a worker runs, from its first score on."""
    stand.create_topics(_TOPIC)
    feeder = _Feeder(stand.servers, 1 + _WARM + _MEASURED)
    taken_s: list[float] = []
    decode = Codec(InfluenceScore).decode
    with (
        stand.program("latency", "benchmarks.sway_worker", "free", TOPICS__EVENTS=_TOPIC) as program,
        Reader(stand, "latency", at_once=True) as reader,
    ):
        feeder.produce_next()
        for now, messages in reader.arrivals(program):
            if not taken_s:
                feeder.start()
            taken_s += [now - feeder.produced[decode(message.value()).event_id] for message in messages]
            if len(taken_s) == feeder.number:
                break
        feeder.join()
    p50, p99 = np.percentile(np.array(taken_s[-_MEASURED:]) * 1e3, [50, 99])
    return [
        Row.informing(f"latency at {PER_S} events/s, p50", float(p50), "ms"),
        Row.informing(f"latency at {PER_S} events/s, p99", float(p99), "ms"),
    ]


class _Feeder(threading.Thread):
    """Produces one event, and then the others at their times; knows when each was handed over."""

    def __init__(self, servers: str, number: int) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.produced: dict[str, float] = {}
        self._events = events(number)
        self._producer = Producer({"bootstrap.servers": servers, "partitioner": PARTITIONER, "linger.ms": 0})
        self._encode = Codec(BehaviorEvent).encode

    def produce_next(self) -> None:
        event = next(self._events)
        self.produced[event.event_id] = time.monotonic()
        self._producer.produce(_TOPIC, self._encode(event), event.user_id)
        self._producer.poll(0)

    def run(self) -> None:
        began = time.monotonic()
        for index in range(1, self.number):
            ahead_s = index / PER_S - (time.monotonic() - began)
            if ahead_s > 0:
                time.sleep(ahead_s)
            self.produce_next()
        self._producer.flush()
