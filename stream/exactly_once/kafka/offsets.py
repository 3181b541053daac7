"""Where an epoch starts reading: the group's stable committed offsets, checked against the log."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from clients.transient import is_transient
from stream.exactly_once.units.errors import OffsetOutOfRangeError
from stream.exactly_once.units.records import TopicPartition
from stream.exactly_once.units.topic_ids import Committed

logger = logging.getLogger(__name__)

OffsetReset = Literal["earliest", "latest", "error"]
_CALL_TIMEOUT_S = 2.0
_RETRY_PAUSE_S = 0.05
_NEW_CLIENT_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class OffsetPolicy:
    """Where a partition starts. new: without a committed offset. lost: if that is not in the log any more."""

    new: OffsetReset = "earliest"
    lost: OffsetReset = "error"


@dataclass(slots=True)
class Starts:
    """Where reading starts, and what was passed over to start there.

    resets: partitions whose committed offset was lost. lost_records: offsets between it and the start, as far as known.
    """

    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    resets: int = 0
    lost_records: int = 0


class Cancelled(Exception):  # noqa: N818  (not an error: the epoch ended while it was being started)
    """The work was abandoned because its epoch is over."""


def stable_offsets(
    consumer: Consumer, partitions: Sequence[TopicPartition], cancelled: Callable[[], bool]
) -> dict[TopicPartition, Committed]:
    """Return what the group has committed for each partition.

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
            if not is_transient(error):
                raise
        else:
            error = next((tp.error for tp in answer if tp.error is not None), None)
            if error is None:
                return {TopicPartition(tp.topic, tp.partition): _committed(tp) for tp in answer}
        if not warned and time.monotonic() - waiting_since > _CALL_TIMEOUT_S:
            warned = True
            logger.info("Waiting for stable offsets: %s. An open transaction must end first", error.str())
        time.sleep(_RETRY_PAUSE_S)
    raise Cancelled


def patient_stable_offsets(
    connect: Callable[[], Consumer],
    uncommitted: Consumer,
    partitions: Sequence[TopicPartition],
    cancelled: Callable[[], bool],
) -> dict[TopicPartition, Committed]:
    """Ask as stable_offsets does, with a new client every _NEW_CLIENT_AFTER_S, and log why there is no answer.

    connect: makes a read_committed client. uncommitted: a read_uncommitted one of the same group, to find the cause.
    Raises Cancelled.
    """
    while True:
        consumer = connect()
        until = time.monotonic() + _NEW_CLIENT_AFTER_S
        try:
            return stable_offsets(consumer, partitions, lambda: cancelled() or time.monotonic() > until)  # noqa: B023
        except Cancelled:
            if cancelled():
                raise
        finally:
            consumer.close()
        cause = _why_unstable(uncommitted, partitions)
        logger.warning("No stable offsets in %g s: %s. Asking again", _NEW_CLIENT_AFTER_S, cause)


def _why_unstable(uncommitted: Consumer, partitions: Sequence[TopicPartition]) -> str:
    asked = [KafkaTopicPartition(tp.topic, tp.partition) for tp in partitions]
    try:
        uncommitted.committed(asked, timeout=_CALL_TIMEOUT_S)
    except KafkaException as exc:
        return f"the group's coordinator does not answer ({exc.args[0].str()})"
    return (
        "the group's coordinator answers, and a transaction with its offsets has not ended. One that outlasts its "
        "time-out hangs: see 'A transaction hangs' in docs/operations.md"
    )


def _committed(tp: KafkaTopicPartition) -> Committed:
    offset = None if tp.offset == OFFSET_INVALID else tp.offset
    return Committed(offset, getattr(tp, "metadata", None) or "")


def start_offsets(
    consumer: Consumer,
    committed: Mapping[TopicPartition, int | None],
    policy: OffsetPolicy,
    cancelled: Callable[[], bool],
    lost: Mapping[TopicPartition, str] | None = None,
) -> Starts:
    """Turn committed offsets into offsets that exist in the log.

    lost: partitions that cannot be read on from their offset for another reason than the log's bounds, and why.
    Raises OffsetOutOfRangeError when a committed offset is lost, or there is none, and the policy says "error":
    never silently.
    """
    starts = Starts()
    for tp, offset in committed.items():
        low, high = watermarks(consumer, tp, cancelled)
        why = (lost or {}).get(tp)
        if why is None and offset is not None and not low <= offset <= high:
            why = "retention has passed it, or the topic was made again"
        if why is not None:
            other_topic = tp in (lost or {})
            starts.offsets[tp] = _lost(tp, offset, (low, high), policy.lost, why, other_topic=other_topic)
            starts.resets += 1
            if offset is not None and tp not in (lost or {}):
                starts.lost_records += max(0, starts.offsets[tp] - offset)
        elif offset is not None:
            starts.offsets[tp] = offset
        elif policy.new == "error":
            raise OffsetOutOfRangeError(
                f"{tp.topic}[{tp.partition}] has no committed offset and offset_reset is 'error'"
            )
        else:
            starts.offsets[tp] = low if policy.new == "earliest" else high
    return starts


def _lost(
    tp: TopicPartition,
    offset: int | None,
    bounds: tuple[int, int],
    reset: OffsetReset,
    why: str,
    *,
    other_topic: bool,
) -> int:
    low, high = bounds
    where = f"{tp.topic}[{tp.partition}]"
    if reset == "error":
        raise OffsetOutOfRangeError(
            f"The committed offset {offset} of {where} cannot be read on from: {why}. The log holds {low} to {high}. "
            "Reset the group's offsets on purpose (kafka-consumer-groups --reset-offsets), or set "
            "lost_offset_reset to earliest or latest, to go on with that loss. (The earliest reads again what is still "
            "in the log.)"
        )
    # Past the end there is nothing to read again: what is in the log was read.
    past_the_end = offset is not None and offset > high and not other_topic
    start = low if reset == "earliest" and not past_the_end else high
    logger.error(
        "%s goes on at %d, not at its committed offset %s: %s. The log holds %d to %d",
        where,
        start,
        offset,
        why,
        low,
        high,
    )
    return start


def watermarks(consumer: Consumer, tp: TopicPartition, cancelled: Callable[[], bool]) -> tuple[int, int]:
    """Return the oldest offset and the one after the newest, as the consumer's isolation level sees them."""
    while not cancelled():
        try:
            answer = consumer.get_watermark_offsets(
                KafkaTopicPartition(tp.topic, tp.partition), timeout=_CALL_TIMEOUT_S
            )
        except KafkaException as exc:
            if not is_transient(exc.args[0]):
                raise
        else:
            if answer is not None:
                return answer
        time.sleep(_RETRY_PAUSE_S)
    raise Cancelled
