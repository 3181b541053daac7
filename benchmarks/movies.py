"""The load of the benchmarks: MovieLens-100K as events, in the order in which people rated."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice

from confluent_kafka import Producer

from schemas.records import BehaviorEvent
from schemas.wire import Codec
from stream.settings import PARTITIONER
from sway import movielens


def events(number: int) -> Iterator[BehaviorEvent]:
    """Yield so many events in time order; after the 100,000 there are, the same again from other people."""
    pairs = list(movielens.rated_events(movielens.fetch()))
    rounds = (
        event if turn == 0 else replace(event, user_id=f"{event.user_id}-{turn}")
        for turn in count()
        for event, _outcome in pairs
    )
    return islice(rounds, number)


def produce(bootstrap_servers: str, topic: str, number: int) -> None:
    """Put so many events into a topic, as a service would."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "partitioner": PARTITIONER,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": number + 1,
        }
    )
    encode = Codec(BehaviorEvent).encode
    for event in events(number):
        producer.produce(topic, encode(event), event.user_id)
    producer.flush()
