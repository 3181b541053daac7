"""The one who hands over: counts examples, and writes request and offsets in one transaction.

Becoming leader fences whoever led before; only then are the committed ends read. So two that both believe they lead
cannot hand over the same range, and a crash leaves a transaction that is committed or not.
"""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as KafkaTopicPartition

from schemas.records import TrainingRequest
from schemas.wire import Codec
from stream.exactly_once.offsets import reader, stable_offsets, start_offsets
from stream.exactly_once.records import Output, TopicPartition
from stream.exactly_once.topics import partition_counts
from stream.exactly_once.transactions import TransactionWriter
from stream.handover.rule import HandoverRule, make_request

_TRANSACTION_TIMEOUT_S = 10.0
_MAX_RECORD_BYTES = 1_000_000


class HandoverLeader:
    """Leads from the moment it is made. Not thread-safe; make another one after any error.

    group_id: a group without members, which holds how far examples were handed over; also the transactional id.
    clock: monotonic seconds. now_ms: epoch milliseconds.
    A topic of examples that does not exist has nothing to hand over. Raises StartError if no broker answers.
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
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        writer_type: type[TransactionWriter] = TransactionWriter,
    ) -> None:
        self._examples, self._training = examples, training
        self._codec, self._rule = codec, rule
        self._clock, self._now_ms = clock, now_ms
        self._consumer = reader(client_config, group_id, **{"enable.partition.eof": True})
        count = partition_counts(client_config, connect_timeout_s).get(examples, 0)
        partitions = [TopicPartition(examples, number) for number in range(count)]
        self._writer = writer_type(
            client_config,
            group_id,
            transaction_timeout_s=_TRANSACTION_TIMEOUT_S,
            max_record_bytes=_MAX_RECORD_BYTES,
        )
        self._writer.init(connect_timeout_s)  # first: from here on, nobody else moves the ends
        committed = stable_offsets(self._consumer, partitions, lambda: False) if partitions else {}
        starts = start_offsets(self._consumer, committed, "earliest", lambda: False)
        self._starts = {tp.partition: offset for tp, offset in starts.items()}
        self._ends = dict(self._starts)
        self._first_seen_s: float | None = None
        self._at_end: set[int] = set()
        self.waiting = 0
        if partitions:
            self._consumer.assign([_at(examples, number, offset) for number, offset in self._starts.items()])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    @property
    def caught_up(self) -> bool:
        """Whether every partition was read to an end."""
        return len(self._at_end) == len(self._starts)

    def read(self, timeout_s: float) -> None:
        """Count what comes within timeout_s; stops early at min_examples, so that a backlog is several requests."""
        room = self._rule.min_examples - self.waiting
        if room <= 0 or not self._starts:
            return
        for message in self._consumer.consume(min(room, 10_000), timeout_s):
            partition = message.partition() or 0
            error = message.error()
            if error is not None:  # others than the end of a partition are librdkafka's own to mend
                if error.code() == KafkaError._PARTITION_EOF:
                    self._at_end.add(partition)
                continue
            self._at_end.discard(partition)
            self._ends[partition] = (message.offset() or 0) + 1
            self.waiting += 1
            if self._first_seen_s is None:
                self._first_seen_s = self._clock()

    def hand_over(self, *, forced: bool = False) -> TrainingRequest | None:
        """Write one request if it is time; returns it once it is committed.

        Raises FatalTransactionError when another leader has taken over, or the fate of the commit is unknown: the
        next leader reads from the broker what was committed.
        """
        waited_s = 0.0 if self._first_seen_s is None else self._clock() - self._first_seen_s
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
        output = Output(self._training, None, self._codec.encode(request), None, None)
        offsets = {TopicPartition(self._examples, number): end for number, end in self._ends.items()}
        self._writer.commit([output], offsets, self._consumer.consumer_group_metadata(), {})
        self._starts = dict(self._ends)
        self.waiting, self._first_seen_s = 0, None
        return request


def _at(topic: str, partition: int, offset: int) -> KafkaTopicPartition:
    return KafkaTopicPartition(topic, partition, offset)
