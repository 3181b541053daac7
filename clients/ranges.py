"""Reads offset ranges up to their ends.

The end of a range is detected by position and not by counting records, because offsets may be missing: transaction
markers, aborted transactions and compaction leave gaps.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from clients.transient import is_transient

logger = logging.getLogger(__name__)

Where = tuple[str, int]
"""A topic and a partition number."""

_LEADERS_TIMEOUT_S = 10.0


class Polled(NamedTuple):
    """The result of one poll: records in order of arrival, and the next offset of each partition that advanced."""

    records: list[Message]
    reached: dict[Where, int]


class StalledError(Exception):
    """No progress within the timeout. waiting: the partitions that have not reached their ends."""

    def __init__(self, waiting: Sequence[Where]) -> None:
        super().__init__(f"no record of {', '.join(f'{topic}[{number}]' for topic, number in waiting)} came")
        self.waiting = waiting


def read_ranges(
    consumer: Consumer,
    ranges: Mapping[Where, tuple[int, int]],
    *,
    timeout_s: float = math.inf,
    max_records: int = 5_000,
    poll_s: float = 0.2,
    check: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Polled]:
    """Yield the result of each poll, possibly empty, until all ranges have been read.

    consumer: must have enable.partition.eof set; its assignment is replaced. ranges: first offset, and the offset after
    the last one. timeout_s: polling time without progress. poll_s: maximum duration of one poll. check: called before
    each poll; may raise to stop reading. clock: a monotonic clock, in seconds.
    Transient errors are logged and retried. Raises StalledError, and KafkaException for any other error.
    """
    left = {where: end for where, (start, end) in ranges.items() if start < end}
    reached = {where: ranges[where][0] for where in left}
    if not left:
        return
    _find_leaders(consumer, {topic for topic, _ in left})
    consumer.assign([TopicPartition(*where, start) for where, start in reached.items()])
    silent_s = 0.0
    while left:
        check()
        to_go = sum(end - reached[where] for where, end in left.items())
        began_s = clock()
        polled = _sort(consumer.consume(min(to_go, max_records), poll_s), left, reached)
        silent_s = 0.0 if polled.reached else silent_s + clock() - began_s
        ended = [where for where, end in left.items() if reached[where] >= end]
        for where in ended:
            del left[where]
        if ended:
            consumer.incremental_unassign([TopicPartition(*where) for where in ended])
        yield polled
        if left and silent_s > timeout_s:
            raise StalledError(sorted(left))


def _sort(messages: Sequence[Message], left: Mapping[Where, int], reached: dict[Where, int]) -> Polled:
    """Return the messages that belong to unfinished ranges, and update `reached`."""
    polled = Polled([], {})
    for message in messages:
        where = message.topic() or "", message.partition() or 0
        end = left.get(where)
        if end is None or reached[where] >= end:
            continue
        offset = _offset(message)
        if offset is None:
            continue
        if message.error() is None and offset < end:
            polled.records.append(message)
            offset += 1
        if offset > reached[where]:
            reached[where] = polled.reached[where] = offset
    return polled


def _offset(message: Message) -> int | None:
    """Return the offset of a record or of a partition's end; None for a transient error."""
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:
        return message.offset() or 0
    if not is_transient(error):
        raise KafkaException(error)
    logger.info("Reading %s[%s]: %s", message.topic(), message.partition(), error.str())
    return None


def _find_leaders(consumer: Consumer, topics: set[str]) -> None:
    """Load partition leaders into the client's metadata cache; otherwise it looks for them only once a second."""
    with suppress(KafkaException):  # unreachable brokers: the client looks for the leaders itself
        for topic in topics:
            consumer.list_topics(topic, timeout=_LEADERS_TIMEOUT_S)
