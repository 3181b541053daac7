"""The demo's client: produces events, reads committed scores, and produces outcomes.

Users overlap, but a user's next event is sent only after the outcome of the previous one. So up to `max_in_flight`
users have an event in flight, and every text contains all earlier outcomes of its user.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from schemas.records import BehaviorEvent, DeadLetter, InfluenceScore, Outcome
from schemas.wire import Codec
from stream.settings import PARTITIONER, Settings
from sway.demo.bad_records import BadRecord
from sway.demo.ledger import Ledger
from sway.errors import SwayError

_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_POLL_S = 0.01
_POLL_RECORDS = 500
_LOOK_AHEAD = 3000  # the number of events to search for a user without an event in flight


OnDelivery = Callable[[KafkaError | None, Message], None]


class DemoFailedError(SwayError):
    """A process of the demo ended, or there was no progress within a time-out."""


class Feeder:
    """Keeps a bounded number of events in flight, and records each in the ledger."""

    def __init__(self, settings: Settings, ledger: Ledger, partitions: int) -> None:
        self._topics = settings.topics
        self._ledger = ledger
        self._events = Codec(BehaviorEvent)
        self._outcomes = Codec(Outcome)
        self._scores = Codec(InfluenceScore)
        self._dead_letters = Codec(DeadLetter)
        self._sent = 0
        self._waiting: set[str] = set()  # users whose last event has no acknowledged outcome yet
        self._producer = Producer(
            {
                **settings.kafka.client_config(),
                "partitioner": PARTITIONER,
                "enable.idempotence": True,
                "linger.ms": 1,
                "message.max.bytes": _MAX_MESSAGE_BYTES,
                "log_level": 0,
            }
        )
        self._consumer = Consumer(
            {
                **settings.kafka.client_config(),
                "group.id": "sway-demo-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
        )
        self._consumer.assign(
            [
                TopicPartition(topic, partition, 0)
                for topic in (self._topics.scores, self._topics.dead_letters)
                for partition in range(partitions)
            ]
        )

    @property
    def in_flight(self) -> int:
        """The number of records sent whose score or dead letter is not visible yet."""
        return self._sent - self._ledger.finished

    def run(
        self,
        pairs: Sequence[tuple[BehaviorEvent, Outcome]],
        bad: Sequence[BadRecord],
        *,
        max_in_flight: int,
        idle_timeout_s: float,
        on_tick: Callable[[], None],
    ) -> None:
        """Send all events and bad records, and return when each has a score or a dead letter.

        on_tick: called about a hundred times a second; an exception from it ends the run.
        Raises DemoFailedError when nothing becomes visible for idle_timeout_s.
        """
        ahead = _LookAhead(mixed(pairs, bad))
        moved_s = time.monotonic()
        while ahead or self.in_flight:
            while self.in_flight < max_in_flight and (one := ahead.take(self._waiting)) is not None:
                self._send(one)
            self._producer.poll(0)
            if self._receive():
                moved_s = time.monotonic()
            elif time.monotonic() - moved_s > idle_timeout_s:
                raise DemoFailedError(
                    f"no score or dead letter became visible for {idle_timeout_s:g} s; see the worker's log"
                )
            on_tick()

    def keep_reading(self, seconds: float) -> None:
        """Flush the producer and read for some seconds, to see duplicates after the last score."""
        self._producer.flush(seconds)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._receive()

    def close(self) -> None:
        """Close the clients."""
        self._producer.flush(5)
        self._consumer.close()

    def _send(self, one: "Item") -> None:
        if isinstance(one, BadRecord):
            self._produce(self._topics.events, one.value, one.key, self._delivered)
        else:
            event, outcome = one
            self._waiting.add(event.user_id)
            self._ledger.sending(event, outcome, time.monotonic())
            self._produce(
                self._topics.events, self._events.encode(event), event.user_id.encode(), self._delivered
            )
        self._sent += 1

    def _receive(self) -> bool:
        moved = False
        for message in self._consumer.consume(_POLL_RECORDS, _POLL_S):
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            moved = True
            self._take(message)
        return moved

    def _take(self, message: Message) -> None:
        if message.topic() == self._topics.dead_letters:
            letter = self._dead_letters.decode(message.value())
            self._ledger.rejected((letter.topic, letter.partition, letter.offset), letter.reason)
            return
        score = self._scores.decode(message.value())
        outcome = self._ledger.scored(score, time.monotonic())
        if outcome is not None:
            self._produce(
                self._topics.outcomes,
                self._outcomes.encode(outcome),
                outcome.user_id.encode(),
                self._outcome_delivered,
            )

    def _produce(self, topic: str, value: bytes, key: bytes, on_delivery: OnDelivery) -> None:
        self._producer.produce(topic, value, key, on_delivery=on_delivery)

    def _outcome_delivered(self, error: KafkaError | None, message: Message) -> None:
        _check(error, message)
        self._waiting.discard((message.key() or b"").decode())

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        _check(error, message)
        self._ledger.delivered((message.topic() or "", message.partition() or 0, message.offset() or 0))


Item = tuple[BehaviorEvent, Outcome] | BadRecord


class _LookAhead:
    """The next records in order, from which users with an event in flight are skipped."""

    def __init__(self, stream: Iterator[Item]) -> None:
        self._stream = stream
        self._ahead: list[Item] = []

    def take(self, waiting: set[str]) -> Item | None:
        """Remove and return the first record whose user is not waiting; None if all users in view are."""
        self._ahead.extend(itertools.islice(self._stream, _LOOK_AHEAD - len(self._ahead)))
        for index, one in enumerate(self._ahead):
            if isinstance(one, BadRecord) or one[0].user_id not in waiting:
                return self._ahead.pop(index)
        return None

    def __bool__(self) -> bool:
        self._ahead.extend(itertools.islice(self._stream, _LOOK_AHEAD - len(self._ahead)))
        return bool(self._ahead)


def mixed(pairs: Sequence[tuple[BehaviorEvent, Outcome]], bad: Sequence[BadRecord]) -> Iterator[Item]:
    """Yield the events in order, with the bad records spread evenly among them."""
    every = max(1, len(pairs) // (len(bad) + 1))
    left = list(bad)
    for number, pair in enumerate(pairs, start=1):
        yield pair
        if left and number % every == 0:
            yield left.pop(0)
    yield from left


def _check(error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        raise KafkaException(error)
