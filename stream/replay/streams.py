"""One topic partition as a stream: read ahead in the background, taken in order."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from stream.exactly_once.kafka.offsets import reader
from stream.exactly_once.kafka.passing import passes
from stream.replay.errors import PastRetentionError, ReplayError
from stream.replay.plan import Span

logger = logging.getLogger(__name__)

_READ_RECORDS = 1_000
_READ_S = 0.1
_AHEAD_KB = 4_096  # fetched and not taken yet
_CALL_TIMEOUT_S = 10.0
_GONE = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})


@dataclass(slots=True)
class Record:
    """A consumed record: a SourceRecord of stream.exactly_once."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class RecordStream:
    """The records of a partition's span, as a read_committed reader sees them.

    position: the next offset that was not taken; the span's end once nothing is left.
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
        """timeout_s: for each record, while brokers are away. on_read: given what was fetched, before it is taken.

        Raises ReplayError if no broker answers.
        """
        self.topic, self.partition = topic, partition
        self.position = span.start
        self._end = span.end
        self._timeout_s = timeout_s
        self._on_read = on_read
        self._records: list[Record] = []
        self._index = 0
        self._consumer: Consumer | None = None
        if span.size:
            self._consumer = self._open(client_config, group_id)

    def head(self) -> Record | None:
        """Return the next record without taking it; None at the end.

        Raises PastRetentionError if retention was faster, ReplayError if nothing comes for timeout_s.
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
        """Let go of the brokers."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _open(self, client_config: Mapping[str, str], group_id: str) -> Consumer:
        settings = {"enable.partition.eof": True, "queued.max.messages.kbytes": _AHEAD_KB}
        consumer = reader(client_config, group_id, **settings)
        # With the leaders in its cache the client fetches at once; else it looks for them once a second.
        consumer.list_topics(self.topic, timeout=_CALL_TIMEOUT_S)
        consumer.assign([KafkaTopicPartition(self.topic, self.partition, self.position)])
        return consumer

    def _read(self) -> None:
        """Fetch more into an empty buffer; leaves it empty at the end."""
        self._records, self._index = [], 0
        waited_since = time.monotonic()
        while self._consumer is not None and not self._records:
            for message in self._consumer.consume(_READ_RECORDS, _READ_S):
                if self._is_end(message):
                    self.close()
                    break
                if message.error() is None:
                    self._records.append(_record(self.topic, self.partition, message))
            if not self._records and time.monotonic() - waited_since > self._timeout_s:
                raise ReplayError(
                    f"No record of {self.topic}[{self.partition}] from offset {self.position} came within "
                    f"{self._timeout_s:g} s. What is done is kept; the same command goes on from there."
                )
        if self._records and self._on_read is not None:
            self._on_read(self._records)

    def _is_end(self, message: Message) -> bool:
        error, offset = message.error(), message.offset() or 0
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return offset >= self._end
        if error.code() in _GONE:
            raise PastRetentionError(
                f"{self.topic}[{self.partition}]: offset {self.position} is past retention "
                f"({error.str()}); what was read before it is kept."
            )
        if not passes(error):
            raise ReplayError(f"{self.topic}[{self.partition}] cannot be read: {error.str()}")
        logger.info("Reading %s[%d]: %s", self.topic, self.partition, error.str())
        return False


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
