"""The hand-over leader: counts examples, and writes a request and its offsets in one transaction.

A new leader first fences the previous one and only then reads the committed end offsets. Two processes that both
believe to be leader therefore cannot hand over the same range, and after a crash the transaction is either committed
or not. If the group's offsets have expired, the end offsets are taken from the requests on the training topic; each
leader commits the end offsets again when it starts.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as KafkaTopicPartition

from clients.consumers import reader
from schemas.records import TrainingRequest
from schemas.wire import Codec
from stream.exactly_once.kafka.offsets import OffsetPolicy, stable_offsets, start_offsets
from stream.exactly_once.kafka.topics import partition_counts
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.errors import OffsetOutOfRangeError, StartError
from stream.exactly_once.units.records import Output, TopicPartition
from stream.handover.requested import requested_ends
from stream.handover.rule import HandoverRule, make_request

_TRANSACTION_TIMEOUT_S = 10.0
_MAX_RECORD_BYTES = 1_000_000
# librdkafka stops reading after these errors; it recovers from all others by itself.
_LOST = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})


class HandoverLeader:
    """Is leader from its creation until the end of its `with` block. Not thread-safe; discard it after any error.

    group_id: a group without members that stores the offsets of handed-over examples; also the transactional id.
    cancelled: cancels the wait for stable offsets, which then raises Cancelled. now_ms: epoch milliseconds.
    Raises StartError if no broker answers or a topic does not exist, OffsetOutOfRangeError if examples were deleted
    before they were handed over.
    """

    def __init__(
        self,
        client_config: Mapping[str, str],
        group_id: str,
        *,
        examples: str,
        training: str,
        codec: Codec[TrainingRequest],
        rule: HandoverRule,
        connect_timeout_s: float = 10.0,
        cancelled: Callable[[], bool] = lambda: False,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        writer_type: type[TransactionWriter] = TransactionWriter,
    ) -> None:
        self._examples, self._training = examples, training
        self._codec, self._rule = codec, rule
        self._now_ms = now_ms
        self.waiting = 0
        self._oldest_ms: int | None = None  # Kafka timestamp of the oldest waiting example
        self._at_end: set[int] = set()
        counts = partition_counts(client_config, connect_timeout_s)
        missing = [topic for topic in (examples, training) if topic not in counts]
        if missing:
            raise StartError(f"These topics do not exist: {', '.join(missing)}. Create them first.")
        with ExitStack() as opened:
            self._consumer = reader(client_config, group_id)
            opened.callback(self._consumer.close)
            self._writer = writer_type(
                client_config,
                group_id,
                transaction_timeout_s=_TRANSACTION_TIMEOUT_S,
                max_record_bytes=_MAX_RECORD_BYTES,
                # A leader that was suspended must not take the transactional id back from its successor.
                can_replace=False,
            )
            opened.callback(self._writer.close)
            self._writer.init(connect_timeout_s)  # first, so that no other leader can commit from here on
            self._starts = self._find_starts(client_config, counts, cancelled)
            self._ends = dict(self._starts)
            self._commit([])  # renews the committed offsets, so that they do not expire
            self._consumer.assign([_at(examples, number, offset) for number, offset in self._starts.items()])
            self._opened = opened.pop_all()

    def _find_starts(
        self, client_config: Mapping[str, str], counts: Mapping[str, int], cancelled: Callable[[], bool]
    ) -> dict[int, int]:
        partitions = [TopicPartition(self._examples, number) for number in range(counts[self._examples])]
        stable = stable_offsets(self._consumer, partitions, cancelled)
        committed = {tp: one.offset for tp, one in stable.items()}
        if None in committed.values():
            requested = requested_ends(
                client_config, self._training, counts[self._training], self._examples, self._codec, cancelled
            )
            committed = {
                tp: requested.get(tp.partition) if offset is None else offset
                for tp, offset in committed.items()
            }
        starts = start_offsets(self._consumer, committed, OffsetPolicy(), cancelled)
        return {tp.partition: offset for tp, offset in starts.offsets.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def caught_up(self) -> bool:
        """Whether every partition has been read to its end."""
        return len(self._at_end) == len(self._starts)

    def read(self, timeout_s: float) -> None:
        """Count examples arriving within timeout_s; stop at min_examples, so that a backlog becomes several requests.

        Raises OffsetOutOfRangeError if the next examples were deleted.
        """
        room = self._rule.min_examples - self.waiting
        if room <= 0:
            return
        for message in self._consumer.consume(min(room, 10_000), timeout_s):
            partition = message.partition() or 0
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    self._at_end.add(partition)
                elif error.code() in _LOST:
                    raise OffsetOutOfRangeError(
                        f"Cannot continue reading {self._examples}[{partition}] at {self._ends.get(partition)}: "
                        f"{error.str()}. Retention removed the offset, or the topic was deleted."
                    )
                continue
            self._at_end.discard(partition)
            self._ends[partition] = (message.offset() or 0) + 1
            self.waiting += 1
            written_ms = message.timestamp()[1]
            self._oldest_ms = written_ms if self._oldest_ms is None else min(self._oldest_ms, written_ms)

    def hand_over(self, *, forced: bool = False) -> TrainingRequest | None:
        """Write a request if one is due, and return it once it is committed; otherwise return None.

        Raises FatalTransactionError when another leader has taken over or the outcome of the commit is unknown; the
        next leader reads from the broker what was committed.
        """
        waited_s = 0.0
        if self._oldest_ms is not None and self.caught_up:  # else a backlog would become many small requests
            waited_s = (self._now_ms() - self._oldest_ms) / 1000
        reason = self._rule.reason(self.waiting, waited_s, forced=forced)
        if reason is None:
            return None
        request = make_request(
            self._examples,
            self._starts,
            self._ends,
            examples=self.waiting,
            created_at_ms=self._now_ms(),
            reason=reason,
        )
        self._commit([Output(self._training, None, self._codec.encode(request), None, None)])
        self._starts = dict(self._ends)
        self.waiting, self._oldest_ms = 0, None
        return request

    def _commit(self, outputs: list[Output]) -> None:
        offsets = {TopicPartition(self._examples, number): end for number, end in self._ends.items()}
        self._writer.commit(outputs, offsets, self._consumer.consumer_group_metadata(), {})


def _at(topic: str, partition: int, offset: int) -> KafkaTopicPartition:
    return KafkaTopicPartition(topic, partition, offset)
