"""One Kafka transaction a unit, on the thread that calls; each class of error has one answer."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from stream.exactly_once.kafka.bounded import CallThread, never_free
from stream.exactly_once.units.errors import (
    ExactlyOnceError,
    FatalTransactionError,
    FencedError,
    RecordTooLargeError,
    StartError,
    TransactionEndedError,
)
from stream.exactly_once.units.records import Output, TopicPartition

logger = logging.getLogger(__name__)
T = TypeVar("T")

_FENCED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
    }
)
_NEVER_PASSES = frozenset(
    {
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    }
)
"""Writing the same unit again would only give the same answer."""
_MAX_CALLS = 30  # of one retriable call, each already retried by librdkafka until its own time-out
_MAX_TIMEOUTS = (
    2  # how many transaction time-outs a call of the transaction may take before its producer is replaced
)
_GRACE_S = 2.0  # past its own time-out; a call that has not ended then never will
_RECORD_OVERHEAD_BYTES = 128  # of a record in a batch: varints, headers, the batch's own header

# librdkafka waits retry.backoff.ms (100) when one transaction follows closely on another: 95 ms each.
_PRODUCER_CONFIG: Mapping[str, str | int | bool] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "compression.type": "lz4",
    "linger.ms": 0,  # a commit flushes, so waiting for a fuller batch only delays it
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 1_000_000,
    "retry.backoff.ms": 5,
    "retry.backoff.max.ms": 20,
    # Pauses between connections to a broker that is away double, by default up to 10 s: it is seen so much later.
    "reconnect.backoff.max.ms": 1000,
}


class _StuckError(Exception):
    """A call of the transaction has failed for too long; a new producer may do better."""


class TransactionWriter:
    """A transactional producer. Not thread-safe: one thread commits.

    transactional_id: the app id and the slot, so that a restart aborts what the killed one left open.
    """

    def __init__(
        self,
        client_config: Mapping[str, str],
        transactional_id: str,
        *,
        transaction_timeout_s: float,
        max_record_bytes: int,
        replaces: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transactional_id = transactional_id
        self._timeout_s = transaction_timeout_s
        self._max_record_bytes = max_record_bytes
        self._replaces = replaces
        self._now = now
        self._began = now()  # of the newest transaction
        self._config: dict[str, Any] = {
            **_PRODUCER_CONFIG,
            **client_config,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": int(transaction_timeout_s * 1000),
            "message.max.bytes": max_record_bytes + _RECORD_OVERHEAD_BYTES,
            "logger": logger,
        }
        self._producer = Producer(self._config)
        self._calls = CallThread("offsets")
        self._gives_up = False

    def init(self, timeout_s: float) -> None:
        """Take over the transactional id: fences an older holder and aborts what it left open.

        Raises StartError when the cluster does not answer in timeout_s.
        """
        try:
            self._producer.init_transactions(timeout_s)
        except KafkaException as exc:
            raise StartError(
                f"The transactional producer {self._transactional_id!r} got no producer id within "
                f"{timeout_s:g} s: {exc.args[0].str()}. Check that the brokers are up and that the transaction "
                "state topic's replication factor suits the number of brokers."
            ) from exc

    def commit(
        self,
        outputs: Sequence[Output],
        offsets: Mapping[TopicPartition, int],
        group_metadata: bytes,
        tracked: Mapping[TopicPartition, int],
        note: str | Mapping[TopicPartition, str] = "",
    ) -> dict[TopicPartition, int]:
        """Write outputs and offsets in one transaction, repeated from memory when it aborts.

        offsets: the next offset by input partition; never empty, since librdkafka skips an empty list and then
        nothing fences. note: their metadata, of all or of each. tracked: for partitions whose position is wanted, the
        index in outputs of their last record. Returns for those the offset after it.
        Raises FencedError when the group has moved on (the transaction is aborted), TransactionEndedError when the
        broker may have ended it by its time-out, or librdkafka hangs (its fate stands in the group's stable offsets,
        and a new producer is ready), RecordTooLargeError before anything is sent, FatalTransactionError when the
        process must end.
        """
        if not offsets:
            raise ValueError("A unit without offsets would not be fenced; nothing was sent.")
        self._check_sizes(outputs)
        positions = [
            KafkaTopicPartition(
                tp.topic, tp.partition, offset, metadata=note if isinstance(note, str) else note[tp]
            )
            for tp, offset in offsets.items()
        ]
        for pause_s in _pauses_s():
            try:
                return self._attempt(outputs, positions, group_metadata, tracked)
            except TimeoutError as exc:
                raise self._replaced(
                    "librdkafka does not return from sending the offsets", hangs=True
                ) from exc
            except _StuckError as exc:
                raise self._replaced(str(exc)) from exc
            except KafkaException as exc:
                error = exc.args[0]
                if error.fatal():
                    raise self._ended(error) from exc
                self._abort()
                if error.code() in _FENCED:
                    raise FencedError(
                        f"{error.name()}: the group has moved on from this epoch; its unit was aborted"
                    ) from exc
                hopeless = self._gives_up or error.code() in _NEVER_PASSES
                if hopeless or (not error.txn_requires_abort() and not error.retriable()):
                    raise self._fatal(error) from exc
                logger.warning("Transaction aborted (%s); the same unit is written again", error.name())
                time.sleep(pause_s)
        raise AssertionError("unreachable: there is always another attempt")

    def give_up(self) -> None:
        """Have a commit under way, on another thread, end with FatalTransactionError at the next failure.

        It ends within a few transaction time-outs; one that does not fail is finished.
        """
        self._gives_up = True

    def close(self) -> None:
        """Give librdkafka up to the transaction time-out to send what it still holds; the end of this object's use."""
        try:
            self._producer.flush(self._timeout_s)
        except (KafkaException, SystemError) as exc:
            if not _is_from_kafka(exc):
                raise
            # Fenced: it holds nothing that anybody wants.
        finally:
            self._calls.close()

    def _attempt(
        self,
        outputs: Sequence[Output],
        positions: list[KafkaTopicPartition],
        group_metadata: bytes,
        tracked: Mapping[TopicPartition, int],
    ) -> dict[TopicPartition, int]:
        producer = self._producer
        self._began = self._now()
        written: dict[TopicPartition, int] = {}
        wanted = {index: tp for tp, index in tracked.items()}
        producer.begin_transaction()
        for index, output in enumerate(outputs):
            tp = wanted.get(index)
            self._produce(output, None if tp is None else _note_position(written, tp))
        self._repeat_or_replace("offsets", lambda: self._send_offsets(positions, group_metadata))
        self._before_commit()
        self._repeat_or_replace("commit", lambda: producer.commit_transaction(self._timeout_s))
        producer.poll(0)
        return written

    def _send_offsets(self, positions: list[KafkaTopicPartition], group_metadata: bytes) -> None:
        """Raises TimeoutError if librdkafka forgets its own time-out."""
        producer = self._producer
        timeout_s = self._timeout_s / 2  # it is repeated; the sooner a call that hangs is seen
        self._calls.call(
            lambda: producer.send_offsets_to_transaction(positions, group_metadata, timeout_s),
            timeout_s + _GRACE_S,
        )

    def _produce(
        self, output: Output, on_delivery: Callable[[KafkaError | None, Message], None] | None
    ) -> None:
        # Optional arguments are left out when unset: the client takes no None for them.
        extra: dict[str, Any] = {}
        if output.partition is not None:
            extra["partition"] = output.partition
        if output.timestamp_ms is not None:
            extra["timestamp"] = output.timestamp_ms
        if on_delivery is not None:
            extra["on_delivery"] = on_delivery
        while True:
            try:
                self._producer.produce(output.topic, output.value, output.key, **extra)
            except BufferError:  # the local queue is full: let it drain
                self._producer.poll(0.1)
            else:
                return

    def _before_commit(self) -> None:
        """Nothing; the seam at which fault tests stop or kill the process inside a transaction."""

    def _repeat(self, call: Callable[[], T]) -> T:
        """Repeat a call that failed retriably: the same call, never the transaction, whose fate is open."""
        for _ in range(_MAX_CALLS):
            try:
                return call()
            except KafkaException as exc:
                error = exc.args[0]
                if error.txn_requires_abort() or error.fatal() or not error.retriable():
                    raise
                if self._gives_up:
                    break
                logger.warning("Transaction call repeated: %s", error.str())
        raise FatalTransactionError(
            f"The transaction of {self._transactional_id!r} was neither committed nor refused, though it "
            "was asked again; its fate is unknown. The next start reads it from the broker."
        )

    def _repeat_or_replace(self, name: str, call: Callable[[], None]) -> None:
        """Repeat a call of the transaction, but not for ever on a producer that could be replaced.

        Raises _StuckError when it still fails after _MAX_TIMEOUTS: librdkafka can keep its request in a queue for a
        connection to the coordinator that it never makes again, though the broker is back.
        """
        deadline = self._now() + _MAX_TIMEOUTS * self._timeout_s

        def bounded() -> None:
            try:
                call()
            except KafkaException as exc:
                error = exc.args[0]
                passing = error.retriable() and not (error.txn_requires_abort() or error.fatal())
                if passing and self._replaces and not self._gives_up and self._now() >= deadline:
                    raise _StuckError(f"the {name} got no answer: {error.str()}") from exc
                raise

        self._repeat(bounded)

    def _abort(self) -> None:
        try:
            self._repeat_or_replace("abort", lambda: self._producer.abort_transaction(self._timeout_s))
        except _StuckError as exc:
            raise self._replaced(str(exc)) from exc
        except KafkaException as exc:
            raise self._ended(exc.args[0]) from exc

    def _ended(self, error: KafkaError) -> ExactlyOnceError:
        """Return what a producer that cannot be used any more means for its process.

        While the brokers or this process were away for longer than the transaction's time-out, the broker has ended the
        transaction and fenced the producer for it. A younger one was fenced by another process with our transactional
        id: taking that back would only fence each other in turn.
        """
        open_s = self._now() - self._began
        if not self._replaces or not error.fatal() or open_s < self._timeout_s:
            return self._fatal(error)
        return self._replaced(
            f"{error.name()}: the transaction was open for {open_s:.0f} s, and the broker ends it after "
            f"{self._timeout_s:g} s"
        )

    def _replaced(self, why: str, *, hangs: bool = False) -> ExactlyOnceError:
        """Have a new producer take over the transactional id, which ends the old one's transaction."""
        if not self._replaces:
            return FatalTransactionError(f"{why}; whoever takes {self._transactional_id!r} over goes on")
        old, self._producer = self._producer, Producer(self._config)
        if hangs:
            never_free(old)
            self._calls.close()  # ends with its call, if that ever does
            self._calls = CallThread("offsets")
        else:
            threading.Thread(target=_drop, args=(old,), name="drop producer", daemon=True).start()
            del old
        try:
            self._repeat(lambda: self._producer.init_transactions(self._timeout_s))
        except KafkaException as exc:
            return self._fatal(exc.args[0])
        return TransactionEndedError(f"{why}; its units are read again unless it is committed")

    def _fatal(self, error: KafkaError) -> FatalTransactionError:
        return FatalTransactionError(
            f"The transactional producer {self._transactional_id!r} cannot go on: {error.name()} ({error.str()}). "
            "Another process took its transactional id, or the brokers refuse what it does."
        )

    def _check_sizes(self, outputs: Sequence[Output]) -> None:
        limit = self._max_record_bytes
        for output in outputs:
            size = len(output.value or b"") + len(output.key or b"")
            if size > limit:
                raise RecordTooLargeError(
                    f"A record of {size} bytes for {output.topic} is larger than max_record_bytes={limit}; "
                    "nothing of its unit was sent."
                )


def _drop(producer: Producer) -> None:
    """Let go of a producer that is fenced; on a thread of its own, since its end may wait for brokers."""
    with suppress(KafkaException):
        producer.purge()


def _is_from_kafka(error: BaseException | None) -> bool:
    """Whether a KafkaException is, or is behind, an error.

    confluent-kafka raises a fatal error inside a callback. A log line that is delivered behind it is logged with that
    error still set, which CPython reports as a SystemError caused by it.
    """
    while error is not None and not isinstance(error, KafkaException):
        error = error.__cause__
    return error is not None


def _pauses_s() -> Iterator[float]:
    """Pauses between attempts: none before the second, then growing to a second, since a cause may last."""
    yield 0.0
    pause_s = 0.05
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, 1.0)


def _note_position(
    written: dict[TopicPartition, int], tp: TopicPartition
) -> Callable[[KafkaError | None, Message], None]:
    def on_delivery(error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        if error is None and offset is not None:
            written[tp] = offset + 1

    return on_delivery
