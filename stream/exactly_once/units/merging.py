"""Merges the input topics of each partition number by record timestamp.

Without it, a worker that is catching up could read a long run of one topic before records of another topic with the
same timestamps. The merger waits for a topic without buffered records only while its broker has more records.

Source: Kafka Streams does the same per task (KIP-353 and KIP-695, `max.task.idle.ms`).
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from stream.exactly_once.units.records import RecordBatch, TopicPartition
from stream.exactly_once.units.unit import split

logger = logging.getLogger(__name__)

AtEnd = Callable[[TopicPartition], bool]
"""Returns whether all records that are known to be in a partition have been fetched."""


class TopicMerger:
    """Buffers fetched batches and yields them in processing order.

    topics: the input topics; at equal timestamps the earlier topic in this list comes first.
    slack_ms: how far one topic may run ahead of the next record of another topic, to keep batches long.
    patience_s: timeout for a topic without buffered records; after it, the merger proceeds without that topic.
    clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        topics: Sequence[str],
        slack_ms: int,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = list(topics)
        self._slack_ms = slack_ms
        self._patience_s = patience_s
        self._clock = clock
        self._buffers: dict[int, dict[str, deque[RecordBatch]]] = {}
        self._waiting_since: dict[int, float] = {}
        self.waited_for: set[TopicPartition] = set()
        """Partitions without buffered records that block others, as of the last call of `ready`."""

    def clear(self) -> None:
        """Discard all buffered records, because another epoch begins."""
        self._buffers.clear()
        self._waiting_since.clear()
        self.waited_for.clear()

    @property
    def buffered(self) -> set[TopicPartition]:
        """The partitions with buffered records."""
        return {TopicPartition(topic, number) for number, of in self._buffers.items() for topic in of}

    @property
    def records(self) -> int:
        """The number of buffered records."""
        return sum(
            len(batch.records) for of in self._buffers.values() for kept in of.values() for batch in kept
        )

    def put(self, batch: RecordBatch) -> None:
        """Append a batch to the buffer of its partition."""
        self._buffers.setdefault(batch.partition, {}).setdefault(batch.topic, deque()).append(batch)

    def ready(self, at_end: AtEnd) -> Iterator[RecordBatch]:
        """Yield the batches that can be processed now, partition by partition, and keep the rest.

        Calling `clear` between two batches ends the iteration.
        """
        self.waited_for.clear()
        for number in sorted(self._buffers, key=self._first_time):
            yield from self._of(number, at_end)

    def _first_time(self, number: int) -> tuple[int, int]:
        return min(self._heads(number))

    def _heads(self, number: int) -> list[tuple[int, int]]:
        """Return (timestamp of the next record, rank of the topic) for each buffered topic."""
        kept = self._buffers[number]
        return [
            (kept[topic][0].records[0].timestamp, rank)
            for rank, topic in enumerate(self._topics)
            if topic in kept
        ]

    def _of(self, number: int, at_end: AtEnd) -> Iterator[RecordBatch]:
        while number in self._buffers:
            missing = self._missing(number, at_end)
            if missing and not self._is_impatient(number, missing):
                self.waited_for.update(missing)
                return
            yield self._take(number)
        self._waiting_since.pop(number, None)

    def _missing(self, number: int, at_end: AtEnd) -> list[TopicPartition]:
        """Return the partitions without buffered records of which the brokers have more."""
        kept = self._buffers[number]
        absent = (TopicPartition(topic, number) for topic in self._topics if topic not in kept)
        return [where for where in absent if not at_end(where)]

    def _is_impatient(self, number: int, missing: Sequence[TopicPartition]) -> bool:
        now = self._clock()
        waited_s = now - self._waiting_since.setdefault(number, now)
        if waited_s < self._patience_s:
            return False
        logger.warning(
            "%s gave no record for %.0f s although its broker has more: partition %d continues without it, "
            "so records with the same timestamps may be processed in a different order.",
            ", ".join(where.topic for where in missing),
            waited_s,
            number,
        )
        del self._waiting_since[number]
        return True

    def _take(self, number: int) -> RecordBatch:
        """Take the topic with the oldest next record, up to the next record of another topic plus the slack."""
        (_, rank), *others = sorted(self._heads(number))
        topic = self._topics[rank]
        kept = self._buffers[number]
        batch = kept[topic].popleft()
        head, rest = batch, None
        if others:
            head, rest = split(batch, _run(batch, others[0][0] + self._slack_ms))
        if rest is not None:
            kept[topic].appendleft(rest)
        elif not kept[topic]:
            del kept[topic]
            if not kept:
                del self._buffers[number]
        return head


def _run(batch: RecordBatch, limit_ms: int) -> int:
    """Return how many leading records are not later than the limit, but at least 1."""
    for count, record in enumerate(batch.records):
        if record.timestamp > limit_ms and count:
            return count
    return len(batch.records)
