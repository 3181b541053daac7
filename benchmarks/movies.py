"""The load of the benchmarks: MovieLens-100K as events, ordered by time."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from typing import TypeVar

from confluent_kafka import Producer

from schemas.records import BehaviorEvent, Outcome
from schemas.wire import Codec
from stream.settings import PARTITIONER
from sway.demo import movielens

R = TypeVar("R", BehaviorEvent, Outcome)


def rated(number: int) -> Iterator[tuple[BehaviorEvent, Outcome]]:
    """Yield a number of events in time order with their outcomes; after 100,000 they repeat with other users."""
    pairs = list(movielens.rated_events(movielens.fetch()))
    rounds = (
        (event, outcome) if turn == 0 else (_of_turn(event, turn), _of_turn(outcome, turn))
        for turn in count()
        for event, outcome in pairs
    )
    return islice(rounds, number)


def events(number: int) -> Iterator[BehaviorEvent]:
    """Yield the events of rated()."""
    return (event for event, _ in rated(number))


def _of_turn(one: R, turn: int) -> R:
    return replace(one, user_id=f"{one.user_id}-{turn}")


def produce(bootstrap_servers: str, topic: str, number: int) -> None:
    """Produce a number of events to a topic."""
    producer = _producer(bootstrap_servers, number)
    encode = Codec(BehaviorEvent).encode
    for event in events(number):
        producer.produce(topic, encode(event), event.user_id)
    producer.flush()


def produce_rated(
    bootstrap_servers: str, topic: str, outcomes: str, number: int, *, per_s: float, new_texts: bool = False
) -> None:
    """Produce a backlog: a number of events to a topic, and each outcome right after its event to another.

    per_s: the rate at which they happened; the newest event happened now. A worker merges topics by these timestamps.
    new_texts: make the text of every event unique.
    """
    producer = _producer(bootstrap_servers, 2 * number)
    began_ms = time.time() * 1e3 - number / per_s * 1e3
    encode, encode_outcome = Codec(BehaviorEvent).encode, Codec(Outcome).encode
    for place, (event, outcome) in enumerate(rated(number)):
        if new_texts:
            event = replace(event, item_text=f"{event.item_text} {place}")
        at_ms = int(began_ms + place / per_s * 1e3)
        producer.produce(topic, encode(event), event.user_id, timestamp=at_ms)
        producer.produce(outcomes, encode_outcome(outcome), outcome.user_id, timestamp=at_ms)
    producer.flush()


def _producer(bootstrap_servers: str, records: int) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "partitioner": PARTITIONER,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": records + 1,
        }
    )
