"""Determines where an epoch starts reading: the group's stable committed offsets, checked against the log."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from clients.transient import is_transient
from clients.watermarks import watermarks as fetch_watermarks
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
    """Where a partition starts. new: without a committed offset. lost: if that offset is not in the log."""

    new: OffsetReset = "earliest"
    lost: OffsetReset = "error"


@dataclass(slots=True)
class Starts:
    """Start offsets, and what was skipped to reach them.

    resets: number of partitions whose committed offset was lost. lost_records: number of offsets between the committed
    offset and the start, as far as known.
    """

    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    resets: int = 0
    lost_records: int = 0


class Cancelled(Exception):  # noqa: N818  (not an error: the epoch ended during its start)
    """The operation was cancelled because its epoch is over."""


def stable_offsets(
    consumer: Consumer, partitions: Sequence[TopicPartition], cancelled: Callable[[], bool]
) -> dict[TopicPartition, Committed]:
    """Return the group's committed offset of each partition.

    Requests stable offsets. While a transaction that contains offsets is open, for example that of a killed worker,
    the broker returns none, and this function waits until the transaction ends. Raises Cancelled.
    """
    requested = [KafkaTopicPartition(tp.topic, tp.partition) for tp in partitions]
    waiting_since = time.monotonic()
    warned = False
    while not cancelled():
        try:
            answer = consumer.committed(requested, timeout=_CALL_TIMEOUT_S)
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


def wait_for_stable_offsets(
    connect: Callable[[], Consumer],
    uncommitted: Consumer,
    partitions: Sequence[TopicPartition],
    cancelled: Callable[[], bool],
) -> dict[TopicPartition, Committed]:
    """Like stable_offsets, but create a new client every _NEW_CLIENT_AFTER_S and log why no offset is available.

    connect: creates a read_committed client. uncommitted: a read_uncommitted client of the same group, used to find
    the cause. Raises Cancelled.
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
        logger.warning("No stable offsets in %g s: %s. Retrying", _NEW_CLIENT_AFTER_S, cause)


def _why_unstable(uncommitted: Consumer, partitions: Sequence[TopicPartition]) -> str:
    requested = [KafkaTopicPartition(tp.topic, tp.partition) for tp in partitions]
    try:
        uncommitted.committed(requested, timeout=_CALL_TIMEOUT_S)
    except KafkaException as exc:
        return f"the group's coordinator does not answer ({exc.args[0].str()})"
    return (
        "the group's coordinator answers, but a transaction with its offsets has not ended. If it exceeds its "
        "timeout, it hangs: see 'A transaction hangs' in docs/operations.md"
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
    """Return start offsets that exist in the log.

    lost: partitions whose committed offset is unusable for a reason other than the bounds of the log, with the reason.
    Raises OffsetOutOfRangeError when a committed offset is lost or missing and the policy is "error"; an offset is
    never reset silently.
    """
    starts = Starts()
    for tp, offset in committed.items():
        low, high = watermarks(consumer, tp, cancelled)
        why = (lost or {}).get(tp)
        if why is None and offset is not None and not low <= offset <= high:
            why = "it was removed by retention, or the topic was recreated"
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
            f"Cannot continue from the committed offset {offset} of {where}: {why}. The log contains {low} to "
            f"{high}. Reset the group's offsets (kafka-consumer-groups --reset-offsets), or set lost_offset_reset to "
            "earliest or latest to continue with that loss. (earliest reads again what is still in the log.)"
        )
    # Beyond the end of the log there is nothing to read again: everything in the log has been read.
    past_the_end = offset is not None and offset > high and not other_topic
    start = low if reset == "earliest" and not past_the_end else high
    logger.error(
        "%s continues at %d instead of its committed offset %s: %s. The log contains %d to %d",
        where,
        start,
        offset,
        why,
        low,
        high,
    )
    return start


def watermarks(consumer: Consumer, tp: TopicPartition, cancelled: Callable[[], bool]) -> tuple[int, int]:
    """Like clients.watermarks, but retry while brokers are unreachable or have no leader. Raises Cancelled."""
    while not cancelled():
        try:
            return fetch_watermarks(consumer, (tp.topic, tp.partition), _CALL_TIMEOUT_S)
        except KafkaException as exc:
            if not is_transient(exc.args[0]):
                raise
        time.sleep(_RETRY_PAUSE_S)
    raise Cancelled
