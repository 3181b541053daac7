"""A stream of the committed records of a topic, without a consumer group."""

import sys
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from clients.watermarks import watermarks
from sway.cluster import reason
from sway.errors import CommandError

_POLL_S = 0.5
_RETRY_S = 0.1
_END_TIMEOUT_S = 10.0
_FATAL = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED}


def follow(
    client_config: Mapping[str, str],
    topic: str,
    partitions: int,
    *,
    from_beginning: bool,
    on_ready: Callable[[], None] = lambda: None,
) -> "Generator[Message, None, None]":
    """Yield records as they are committed, without end, in offset order per partition.

    on_ready: called once the end of every partition is known; records produced after it are yielded.
    Raises CommandError if the topic does not exist or may not be read.
    """
    config: dict[str, Any] = {
        **client_config,
        # Required by the client, although no group is joined and no offset committed.
        "group.id": "sway-tail",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "log_level": 0,
        "error_cb": _report,
    }
    consumer = Consumer(config)
    try:
        consumer.assign(_start(consumer, topic, partitions, from_beginning=from_beginning))
        on_ready()
        while True:
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            error = message.error()
            if error is None:
                yield message
            elif error.code() in _FATAL:
                raise CommandError(f"cannot read {topic}: {error.str()}")
    finally:
        consumer.close()


def _start(consumer: Consumer, topic: str, partitions: int, *, from_beginning: bool) -> list[TopicPartition]:
    if from_beginning:
        return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)]
    # Resolved now: OFFSET_END is resolved when fetching starts, which would skip records produced until then.
    return [TopicPartition(topic, number, _end(consumer, topic, number)) for number in range(partitions)]


def _end(consumer: Consumer, topic: str, number: int) -> int:
    deadline = time.monotonic() + _END_TIMEOUT_S
    while True:
        try:
            return watermarks(consumer, (topic, number), _END_TIMEOUT_S)[1]
        except KafkaException as exc:
            # Just after a broker starts, a partition may not have a leader yet.
            if time.monotonic() > deadline:
                raise CommandError(f"cannot find the end of {topic}: {reason(exc)}") from exc
            time.sleep(_RETRY_S)


def _report(error: KafkaError) -> None:
    sys.stderr.write(f"sway: {error.str()}; retrying\n")
