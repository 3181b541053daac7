"""Reading of offset ranges of sway.examples, with read_committed isolation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from types import MappingProxyType

from confluent_kafka import Consumer

from clients.consumers import reader
from clients.ranges import StalledError, read_ranges
from clients.watermarks import watermarks
from schemas.errors import DecodeError
from schemas.records import LabeledExample, OffsetRange
from schemas.wire import Codec
from trainer.dataset import Example
from trainer.errors import RangeError, RangeUnavailable
from trainer.newest import Found, NewestFirst, in_order

_GROUP = "sway-example-reader"  # never joined, never committed to
_CALL_TIMEOUT_S = 10.0
# For many short ranges: limits the prefetch beyond their ends, which is discarded.
_SHORT_RANGES = {
    "fetch.message.max.bytes": 32_768,
    "queued.min.messages": 1,
    "fetch.queue.backoff.ms": 20,  # the pause when the queue is full; 1,000 ms by default
}


class ExampleRanges:
    """Reads examples by topic, partition and offset.

    client_config: connection settings under librdkafka's names. timeout_s: the maximum time without progress.
    check: called between polls; an exception from it ends the read.
    """

    def __init__(
        self,
        client_config: Mapping[str, str],
        codec: Codec[LabeledExample] | None = None,
        *,
        timeout_s: float = 60.0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._client_config = client_config
        self._codec = codec or Codec(LabeledExample)
        self._timeout_s = timeout_s
        self._check_in = check

    def read(self, ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        """Return the examples of the ranges, and the newest by `labeled_at` before them, at most `older`.

        Both lists are sorted by topic, partition and offset. The call reads little more than it returns, and does not
        hold more in memory.
        Raises RangeError if retention has deleted part of a range or a record is no example, RangeUnavailable if no
        record arrives within timeout_s, and KafkaException.
        """
        with closing(self._consumer()) as consumer:
            self._check(consumer, ranges)
            new = in_order(self._found(consumer, ranges))
        if not older:
            return new, []
        with closing(self._consumer(_SHORT_RANGES)) as consumer:
            return new, self._newest_before(consumer, ranges, older)

    def all_of(self, topic: str) -> list[OffsetRange]:
        """Return the ranges of all records in a topic. Raises RangeError if the topic does not exist."""
        with closing(self._consumer()) as consumer:
            found = consumer.list_topics(topic, timeout=_CALL_TIMEOUT_S).topics[topic]
            if found.error is not None or not found.partitions:
                raise RangeError(f"cannot read examples: there is no topic {topic!r}")
            ends = {
                number: watermarks(consumer, (topic, number), _CALL_TIMEOUT_S) for number in found.partitions
            }
            return [
                OffsetRange(topic, number, low, high) for number, (low, high) in ends.items() if low < high
            ]

    def _consumer(self, fetching: Mapping[str, int] = MappingProxyType({})) -> Consumer:
        return reader(self._client_config, _GROUP, **fetching, log_level=0)

    def _check(self, consumer: Consumer, ranges: Sequence[OffsetRange]) -> None:
        for part in ranges:
            low, high = watermarks(consumer, (part.topic, part.partition), _CALL_TIMEOUT_S)
            if part.start < low:
                raise RangeError(
                    f"{part.topic}[{part.partition}] was requested from offset {part.start}, but retention has deleted "
                    f"all records before {low}, the oldest offset"
                )
            if part.end > high:
                raise RangeError(
                    f"{part.topic}[{part.partition}] was requested up to offset {part.end}, but ends at {high}"
                )

    def _newest_before(self, consumer: Consumer, ranges: Sequence[OffsetRange], older: int) -> list[Example]:
        spans = []
        for part in ranges:
            low, _ = watermarks(consumer, (part.topic, part.partition), _CALL_TIMEOUT_S)
            if low < part.start:
                spans.append(OffsetRange(part.topic, part.partition, low, part.start))
        newest = NewestFirst(spans, older)
        while wanted := newest.next_ranges():
            for found in self._found(consumer, wanted):
                newest.add(found)
        return newest.examples()

    def _found(self, consumer: Consumer, ranges: Sequence[OffsetRange]) -> Iterator[Found]:
        """Yield each example of the ranges as it arrives."""
        wanted = {(part.topic, part.partition): (part.start, part.end) for part in ranges}
        polls = read_ranges(consumer, wanted, timeout_s=self._timeout_s, check=self._check_in)
        try:
            for polled in polls:
                for message in polled.records:
                    where = message.topic() or "", message.partition() or 0
                    yield self._example(message.value(), where, message.offset() or 0)
        except StalledError as exc:
            raise RangeUnavailable(f"{exc} for {self._timeout_s:g} s: check the partitions' leaders") from exc

    def _example(self, value: bytes | None, where: tuple[str, int], offset: int) -> Found:
        try:
            record = self._codec.decode(value)
            return Found(*where, offset, record.labeled_at, Example.from_record(record))
        except DecodeError as exc:
            raise RangeError(f"{where[0]}[{where[1]}]@{offset} is no LabeledExample: {exc}") from exc
