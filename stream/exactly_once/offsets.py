"""Where an epoch starts reading: the group's stable committed offsets, checked against the log."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from stream.exactly_once.errors import OffsetOutOfRangeError
from stream.exactly_once.records import TopicPartition

logger = logging.getLogger(__name__)

OffsetReset = Literal["earliest", "latest", "error"]
_CALL_TIMEOUT_S = 2.0
_RETRY_PAUSE_S = 0.05
_RETRIABLE = frozenset({KafkaError._TIMED_OUT, KafkaError.UNSTABLE_OFFSET_COMMIT, KafkaError._WAIT_COORD})


class Cancelled(Exception):  # noqa: N818  (not an error: the epoch ended while it was being started)
    """The work was abandoned because its epoch is over."""


def reader(client_config: Mapping[str, str], group_id: str, **extra: str | int | bool) -> Consumer:
    """Make a consumer that never subscribes and never commits."""
    return Consumer(
        {
            **client_config,
            "group.id": group_id,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "retry.backoff.ms": 20,
            "reconnect.backoff.ms": 20,
            "log.connection.close": False,
            "logger": logger,
            **extra,
        }
    )


def stable_offsets(
    consumer: Consumer, partitions: Sequence[TopicPartition], cancelled: Callable[[], bool]
) -> dict[TopicPartition, int | None]:
    """Return the group's committed offset of each partition, or None where there is none.

    Asks for stable offsets: while a transaction that holds offsets is open (a killed worker's, until the
    broker ends it) there is no answer, and this waits. Raises Cancelled.
    """
    asked = [KafkaTopicPartition(tp.topic, tp.partition) for tp in partitions]
    waiting_since = time.monotonic()
    warned = False
    while not cancelled():
        try:
            answer = consumer.committed(asked, timeout=_CALL_TIMEOUT_S)
        except KafkaException as exc:
            error = exc.args[0]
            if not (error.retriable() or error.code() in _RETRIABLE):
                raise
        else:
            error = next((tp.error for tp in answer if tp.error is not None), None)
            if error is None:
                return {
                    TopicPartition(tp.topic, tp.partition): None if tp.offset == OFFSET_INVALID else tp.offset
                    for tp in answer
                }
        if not warned and time.monotonic() - waiting_since > _CALL_TIMEOUT_S:
            warned = True
            logger.info("Waiting for stable offsets: %s. An open transaction must end first", error.str())
        time.sleep(_RETRY_PAUSE_S)
    raise Cancelled


def start_offsets(
    consumer: Consumer,
    committed: Mapping[TopicPartition, int | None],
    reset: OffsetReset,
    cancelled: Callable[[], bool],
) -> dict[TopicPartition, int]:
    """Turn committed offsets into offsets that exist in the log.

    Raises OffsetOutOfRangeError when a committed offset is outside the log, or there is none and reset is "error":
    never silently.
    """
    starts: dict[TopicPartition, int] = {}
    for tp, offset in committed.items():
        low, high = watermarks(consumer, tp, cancelled)
        if offset is None:
            if reset == "error":
                raise OffsetOutOfRangeError(
                    f"{tp.topic}[{tp.partition}] has no committed offset and offset_reset is 'error'"
                )
            starts[tp] = low if reset == "earliest" else high
        elif low <= offset <= high:
            starts[tp] = offset
        else:
            raise OffsetOutOfRangeError(
                f"The committed offset {offset} of {tp.topic}[{tp.partition}] is outside the log, which holds "
                f"{low} to {high}: retention has passed it, or the topic was made again. Reset the group's offsets on "
                "purpose (kafka-consumer-groups --reset-offsets) to go on with that loss."
            )
    return starts


def watermarks(consumer: Consumer, tp: TopicPartition, cancelled: Callable[[], bool]) -> tuple[int, int]:
    """Return the oldest offset and the one after the newest, as the consumer's isolation level sees them."""
    while not cancelled():
        try:
            answer = consumer.get_watermark_offsets(
                KafkaTopicPartition(tp.topic, tp.partition), timeout=_CALL_TIMEOUT_S
            )
        except KafkaException as exc:
            if not (exc.args[0].retriable() or exc.args[0].code() in _RETRIABLE):
                raise
        else:
            if answer is not None:
                return answer
        time.sleep(_RETRY_PAUSE_S)
    raise Cancelled
