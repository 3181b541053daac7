"""Merges the input topics of each partition number by record time, as far as they are fetched. Pure.

Without it a worker that is behind could read a long run of one topic before what another topic holds of the same
time. A topic with nothing at hand is waited for only while its brokers are known to have more.

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
"""Whether all that the brokers have of a partition, as far as known, was fetched."""


class TopicMerger:
    """Takes batches as they are fetched, and gives them in the order in which they are to be read.

    topics: the inputs; at equal times the earlier one in this list is first.
    slack_ms: how far one topic may run ahead of the next record of another, so that batches stay long.
    patience_s: after this time without a record of a topic that is waited for, reading goes on without it.
    clock: seconds that only rise.
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
        """Partitions whose records others wait for, as of the last `ready`."""

    def clear(self) -> None:
        """Forget everything: another epoch begins."""
        self._buffers.clear()
        self._waiting_since.clear()
        self.waited_for.clear()

    @property
    def buffered(self) -> set[TopicPartition]:
        """The partitions of which something is kept."""
        return {TopicPartition(topic, number) for number, of in self._buffers.items() for topic in of}

    @property
    def records(self) -> int:
        """How many records are kept."""
        return sum(
            len(batch.records) for of in self._buffers.values() for kept in of.values() for batch in kept
        )

    def put(self, batch: RecordBatch) -> None:
        """Keep a batch, behind what is kept of its partition."""
        self._buffers.setdefault(batch.partition, {}).setdefault(batch.topic, deque()).append(batch)

    def ready(self, at_end: AtEnd) -> Iterator[RecordBatch]:
        """Give what can be read now, partition by partition; the rest stays.

        May be cleared between two batches, which ends it.
        """
        self.waited_for.clear()
        for number in sorted(self._buffers, key=self._first_time):
            yield from self._of(number, at_end)

    def _first_time(self, number: int) -> tuple[int, int]:
        return min(self._heads(number))

    def _heads(self, number: int) -> list[tuple[int, int]]:
        """The time of each kept topic's next record, and the topic's rank."""
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
        """The partitions of this number with nothing at hand, of which the brokers have more."""
        kept = self._buffers[number]
        absent = (TopicPartition(topic, number) for topic in self._topics if topic not in kept)
        return [where for where in absent if not at_end(where)]

    def _is_impatient(self, number: int, missing: Sequence[TopicPartition]) -> bool:
        now = self._clock()
        waited_s = now - self._waiting_since.setdefault(number, now)
        if waited_s < self._patience_s:
            return False
        logger.warning(
            "%s gave no record for %.0f s though its broker has more: partition %d is read without it, "
            "so records of the same time may be read in another order.",
            ", ".join(where.topic for where in missing),
            waited_s,
            number,
        )
        del self._waiting_since[number]
        return True

    def _take(self, number: int) -> RecordBatch:
        """Take the topic whose next record is the oldest, up to the next record of another topic and the slack."""
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
    """Return how many records come before the first one that is later than the limit, the first one in any case."""
    for count, record in enumerate(batch.records):
        if record.timestamp > limit_ms and count:
            return count
    return len(batch.records)
