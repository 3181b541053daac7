"""Merges the input topics of each partition number by record timestamp.

Without it, a worker that is catching up could read a long run of one topic before records of another topic with the
same timestamps. The merger waits for a topic without buffered records only while its broker has more records.

Source: Kafka Streams does the same per task (KIP-353 and KIP-695, `max.task.idle.ms`).
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Container, Iterator, Sequence

from stream.exactly_once.units.records import RecordBatch, TopicPartition
from stream.exactly_once.units.unit import split

logger = logging.getLogger(__name__)

AtEnd = Callable[[TopicPartition], bool]
"""Returns whether all records that are known to be in a partition have been fetched."""


class TopicMerger:
    """Buffers fetched batches and yields them in processing order.

    topics: the input topics; at equal timestamps the earlier topic in this list comes first.
    slack_ms: how far one topic may run ahead of the next record of another topic, to keep batches long.
    patience_s: seconds of polling for a partition in vain, after which the merger proceeds without it until a record
    of it arrives. Time without polls does not count.
    """

    def __init__(self, topics: Sequence[str], slack_ms: int, patience_s: float) -> None:
        self._topics = list(topics)
        self._slack_ms = slack_ms
        self._patience_s = patience_s
        self._buffers: dict[int, dict[str, deque[RecordBatch]]] = {}
        self._silent_s: dict[TopicPartition, float] = {}
        self._given_up: set[TopicPartition] = set()
        self.waited_for: set[TopicPartition] = set()
        """Partitions without buffered records that block others, as of the last call of `ready`."""

    def clear(self) -> None:
        """Discard all buffered records, because another epoch begins."""
        self._buffers.clear()
        self._silent_s.clear()
        self._given_up.clear()
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
        where = TopicPartition(batch.topic, batch.partition)
        self._silent_s.pop(where, None)
        self._given_up.discard(where)
        self._buffers.setdefault(batch.partition, {}).setdefault(batch.topic, deque()).append(batch)

    def count_poll(
        self, asked: Collection[TopicPartition], returned: Collection[TopicPartition], seconds: float
    ) -> None:
        """Record a poll: the partitions that it asked for, and those of which it returned records."""
        for where in self.waited_for.intersection(asked).difference(returned):
            silent_s = self._silent_s[where] = self._silent_s.get(where, 0.0) + seconds
            if silent_s >= self._patience_s:
                self._give_up(where, silent_s)

    def ready(self, at_end: AtEnd, paused: Container[int] = ()) -> Iterator[RecordBatch]:
        """Yield the batches that can be processed now, partition by partition, and keep the rest.

        paused: partition numbers that yield nothing now. Calling `clear` between two batches ends the iteration.
        """
        self.waited_for.clear()
        for number in sorted(self._buffers, key=self._first_time):
            if number not in paused:
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
            if missing:
                self.waited_for.update(missing)
                return
            yield self._take(number)

    def _missing(self, number: int, at_end: AtEnd) -> list[TopicPartition]:
        """Return the partitions of this number without buffered records that have more on their brokers."""
        missing = []
        for topic in self._topics:
            where = TopicPartition(topic, number)
            if topic in self._buffers[number]:
                continue
            if at_end(where):  # it answers: earlier silence does not count any more
                self._silent_s.pop(where, None)
                self._given_up.discard(where)
            elif where not in self._given_up:
                missing.append(where)
        return missing

    def _give_up(self, where: TopicPartition, silent_s: float) -> None:
        del self._silent_s[where]
        self._given_up.add(where)
        logger.warning(
            "%s[%d] returned no record in %.0f s of polling although its broker has more. The other topics of "
            "partition %d are processed without it, so records of the same time may be processed in another order.",
            where.topic,
            where.partition,
            silent_s,
            where.partition,
        )

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
