"""Reads one topic partition in order, with prefetching in the background."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from clients.consumers import reader
from clients.ranges import Polled, StalledError, read_ranges
from stream.replay.errors import PastRetentionError, ReplayError
from stream.replay.plan import Span

_READ_RECORDS = 1_000
_READ_S = 0.1
_AHEAD_KB = 4_096  # prefetched and not yet taken
_GONE = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})


@dataclass(slots=True)
class Record:
    """A consumed record; implements SourceRecord of stream.exactly_once."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class RecordStream:
    """The records of a partition's offset range, read as read_committed.

    position: next offset to take; the end of the range once no records are left.
    """

    def __init__(
        self,
        client_config: Mapping[str, str],
        group_id: str,
        topic: str,
        partition: int,
        span: Span,
        *,
        timeout_s: float,
        on_read: Callable[[Sequence[Record]], None] | None = None,
    ) -> None:
        """timeout_s: longest wait for a record. on_read: called with fetched records before they are taken."""
        self.topic, self.partition = topic, partition
        self.position = span.start
        self._end = span.end
        self._timeout_s = timeout_s
        self._on_read = on_read
        self._records: list[Record] = []
        self._index = 0
        self._consumer: Consumer | None = None
        self._polls: Iterator[Polled] = iter(())
        self._failure: Exception | None = None
        if span.size:
            self._consumer = self._open(client_config, group_id)

    def head(self) -> Record | None:
        """Return the next record without taking it; None at the end.

        Raises PastRetentionError if retention deleted it, ReplayError if no record arrives within timeout_s.
        """
        if self._index == len(self._records):
            self._read()
            if not self._records:
                self.position = max(self.position, self._end)
                return None
        return self._records[self._index]

    def take(self) -> Record:
        """Take the record that head() returned."""
        record = self._records[self._index]
        self._index += 1
        self.position = record.offset + 1
        return record

    def close(self) -> None:
        """Close the consumer."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _open(self, client_config: Mapping[str, str], group_id: str) -> Consumer:
        consumer = reader(client_config, group_id, **{"queued.max.messages.kbytes": _AHEAD_KB})
        self._polls = read_ranges(
            consumer,
            {(self.topic, self.partition): (self.position, self._end)},
            timeout_s=self._timeout_s,
            max_records=_READ_RECORDS,
            poll_s=_READ_S,
        )
        return consumer

    def _read(self) -> None:
        """Fetch records into the empty buffer, which stays empty at the end."""
        self._records, self._index = [], 0
        while self._consumer is not None and not self._records:
            polled = self._poll()
            if polled is None:
                self.close()
            else:
                self._records = [_record(self.topic, self.partition, message) for message in polled.records]
        if self._records and self._on_read is not None:
            self._on_read(self._records)

    def _poll(self) -> Polled | None:
        """Return the next poll's result; None at the end. A failure is final: it is raised again when asked again."""
        if self._failure is not None:
            raise self._failure
        try:
            return next(self._polls, None)
        except StalledError as exc:
            self._failure = ReplayError(
                f"No record of {self.topic}[{self.partition}] from offset {self.position} arrived within "
                f"{self._timeout_s:g} s. Completed work is kept; run the same command to continue."
            )
            raise self._failure from exc
        except KafkaException as exc:
            error: KafkaError = exc.args[0]
            if error.code() in _GONE:
                self._failure = PastRetentionError(
                    f"{self.topic}[{self.partition}]: retention has deleted offset {self.position} "
                    f"({error.str()}); records read before it are kept."
                )
            else:
                self._failure = ReplayError(f"Cannot read {self.topic}[{self.partition}]: {error.str()}")
            raise self._failure from exc


def _record(topic: str, partition: int, message: Message) -> Record:
    key = message.key()
    return Record(
        topic,
        partition,
        message.offset() or 0,
        message.timestamp()[1],
        key.encode() if isinstance(key, str) else key,
        message.value(),
    )
