"""A load generator with a constant rate, run in a separate process.

`python -m benchmarks.paced_load SERVERS EVENTS OUTCOMES WARM N PER_S`; EVENTS and OUTCOMES are topics. All records are
encoded before the first one is sent. It prints `ready`. When it reads `warm` from its input, it immediately sends an
event for each text of MovieLens-100K and WARM further events. When it reads `go TIME`, a time of the machine's
monotonic clock, it sends N events from that time on, in bursts 5 ms apart. The due time of an event does not depend on
earlier ones. Each event is followed by its outcome. At the end it prints the delay of each burst in milliseconds as
JSON.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from confluent_kafka import Producer

from benchmarks.children import die_with_parent
from benchmarks.movies import rated
from schemas.records import BehaviorEvent, Outcome
from schemas.wire import Codec
from stream.settings import PARTITIONER

BURST_S = 0.005
Pair = tuple[BehaviorEvent, Outcome]


def warming(number: int) -> list[Pair]:
    """Return an event for each text, each of a separate user, then a number of events of real users."""
    pairs = list(rated(number))
    of_text = {event.item_text: (event, outcome) for event, outcome in reversed(list(rated(100_000)))}
    alone = [
        (
            replace(event, user_id=f"text-{place}", event_id=f"text-{place}"),
            replace(outcome, user_id=f"text-{place}", event_id=f"text-{place}"),
        )
        for place, (event, outcome) in enumerate(of_text.values())
    ]
    return alone + pairs


def measured(warm: int, number: int) -> Iterator[Pair]:
    """Yield the events after the warm-up."""
    return islice(rated(warm + number), warm, None)


def main() -> None:
    """Encode the records and send them on command."""
    die_with_parent()
    servers, events, outcomes = sys.argv[1:4]
    warm, number, per_s = int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])
    load = _Load(servers, events, outcomes)
    first = [load.encoded(pair) for pair in warming(warm)]
    then = [load.encoded(pair) for pair in measured(warm, number)]
    print("ready", flush=True)
    assert sys.stdin.readline().strip() == "warm"
    load.send(first)
    load.flush()
    began_s = float(sys.stdin.readline().split()[1])
    print(json.dumps(load.pace(then, began_s, per_s)), flush=True)


class _Load:
    """A producer of events and outcomes."""

    def __init__(self, servers: str, events: str, outcomes: str) -> None:
        self._topics = events, outcomes
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "partitioner": PARTITIONER,
                "linger.ms": 1,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        self._event, self._outcome = Codec(BehaviorEvent), Codec(Outcome)

    def encoded(self, pair: Pair) -> tuple[str, bytes, bytes]:
        """Return the user id and the values of event and outcome."""
        event, outcome = pair
        return event.user_id, self._event.encode(event), self._outcome.encode(outcome)

    def send(self, records: list[tuple[str, bytes, bytes]]) -> None:
        """Send events and outcomes."""
        (events, outcomes), produce = self._topics, self._producer.produce
        for user_id, event, outcome in records:
            produce(events, event, user_id)
            produce(outcomes, outcome, user_id)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all records are acknowledged."""
        self._producer.flush()

    def pace(self, records: list[tuple[str, bytes, bytes]], began_s: float, per_s: float) -> list[float]:
        """Send each record when it is due; return the delay of each burst in milliseconds."""
        sent, late_ms = 0, []
        while sent < len(records):
            next_s = began_s + (sent + 1) / per_s + BURST_S
            time.sleep(max(0.0, next_s - time.monotonic()))
            now = time.monotonic()
            due = min(len(records), max(sent + 1, int((now - began_s) * per_s)))
            late_ms.append((now - next_s) * 1e3)
            self.send(records[sent:due])
            sent = due
        self.flush()
        return late_ms


if __name__ == "__main__":
    main()
