"""Commits units in Kafka transactions on the calling thread, and handles each class of error."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from stream.exactly_once.kafka.bounded import CallThread, leak
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

_FENCED_ERRORS = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
    }
)
_PERMANENT_ERRORS = frozenset(
    {
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    }
)
"""Errors that do not go away when the same unit is written again."""
_MAX_CALLS = 30  # attempts of a retriable call; librdkafka already retries each until its own timeout
# Transaction timeouts that a transaction call may take before its producer is replaced.
_MAX_TIMEOUTS = 2
_GRACE_S = 2.0  # beyond a call's own timeout; a call that has not returned by then hangs
_RECORD_OVERHEAD_BYTES = 128  # per record in a batch: varints, headers, the batch header

# When transactions follow each other closely, librdkafka waits retry.backoff.ms (default 100): 95 ms for each.
_PRODUCER_CONFIG: Mapping[str, str | int | bool] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "compression.type": "lz4",
    "linger.ms": 0,  # a commit flushes, so waiting for a fuller batch only adds latency
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 1_000_000,
    "retry.backoff.ms": 5,
    "retry.backoff.max.ms": 20,
    # The reconnect backoff doubles, by default up to 10 s, which delays the detection of a broker that is back.
    "reconnect.backoff.max.ms": 1000,
}


class _StuckError(Exception):
    """A transaction call has failed for too long; a new producer may succeed."""


class TransactionWriter:
    """A transactional producer. Not thread-safe: call it from one thread.

    transactional_id: app id and slot, so that a restart aborts the open transaction of the killed process.
    transaction_timeout_s: transaction.timeout.ms in seconds. can_replace: create a new producer with the same
    transactional id when this one hangs or the broker ended its transaction.
    """

    def __init__(
        self,
        client_config: Mapping[str, str],
        transactional_id: str,
        *,
        transaction_timeout_s: float,
        max_record_bytes: int,
        can_replace: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transactional_id = transactional_id
        self._timeout_s = transaction_timeout_s
        self._max_record_bytes = max_record_bytes
        self._can_replace = can_replace
        self._now = now
        self._began = now()  # start of the newest transaction
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
        self._giving_up = False

    def init(self, timeout_s: float) -> None:
        """Initialize the transactional id: fence an older producer and abort its open transaction.

        Raises StartError when the cluster does not answer within timeout_s.
        """
        try:
            self._producer.init_transactions(timeout_s)
        except KafkaException as exc:
            raise StartError(
                f"The transactional producer {self._transactional_id!r} got no producer id within "
                f"{timeout_s:g} s: {exc.args[0].str()}. Check that the brokers are up and that the replication "
                "factor of the transaction state topic fits the number of brokers."
            ) from exc

    def commit(
        self,
        outputs: Sequence[Output],
        offsets: Mapping[TopicPartition, int],
        group_metadata: bytes,
        tracked: Mapping[TopicPartition, int],
        commit_metadata: str | Mapping[TopicPartition, str] = "",
    ) -> dict[TopicPartition, int]:
        """Write outputs and offsets in one transaction; after an abort, write the same unit again from memory.

        offsets: next offset by input partition; must not be empty, because librdkafka skips an empty list and then
        nothing is fenced. commit_metadata: metadata of the offsets, one for all partitions or one for
        each. tracked: index in outputs of the last record of each partition whose position is needed.
        Returns the offset after that record, by tracked partition.
        Raises FencedError when the group has moved on (the transaction is aborted); TransactionEndedError when the
        broker may have ended the transaction by timeout or librdkafka hangs (the group's stable offsets tell whether
        it was committed, and a new producer is ready); RecordTooLargeError before anything is sent;
        FatalTransactionError when the process must end.
        """
        if not offsets:
            raise ValueError("A unit without offsets would not be fenced; nothing was sent.")
        self._check_sizes(outputs)
        positions = [
            KafkaTopicPartition(
                tp.topic,
                tp.partition,
                offset,
                metadata=commit_metadata if isinstance(commit_metadata, str) else commit_metadata[tp],
            )
            for tp, offset in offsets.items()
        ]
        for pause_s in _backoff_s():
            try:
                return self._attempt(outputs, positions, group_metadata, tracked)
            except TimeoutError as exc:
                raise self._replace_producer(
                    "librdkafka's send_offsets_to_transaction does not return", hangs=True
                ) from exc
            except _StuckError as exc:
                raise self._replace_producer(str(exc)) from exc
            except KafkaException as exc:
                error = exc.args[0]
                if error.fatal():
                    raise self._fatal_or_replaced(error) from exc
                self._abort()
                if error.code() in _FENCED_ERRORS:
                    raise FencedError(
                        f"{error.name()}: the group has left this epoch; its unit was aborted"
                    ) from exc
                hopeless = self._giving_up or error.code() in _PERMANENT_ERRORS
                if hopeless or (not error.txn_requires_abort() and not error.retriable()):
                    raise self._fatal(error) from exc
                logger.warning("Transaction aborted (%s); writing the same unit again", error.name())
                time.sleep(pause_s)
        raise AssertionError("unreachable: the backoff never ends")

    def give_up(self) -> None:
        """Make a commit in progress on another thread raise FatalTransactionError at its next failure.

        It ends within a few transaction timeouts; a commit without failures completes.
        """
        self._giving_up = True

    def close(self) -> None:
        """Flush for at most the transaction timeout and close; the writer is unusable afterwards."""
        try:
            self._producer.flush(self._timeout_s)
        except (KafkaException, SystemError) as exc:
            if not _is_from_kafka(exc):
                raise
            # The producer is fenced, so its remaining messages are obsolete.
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
            self._produce(output, None if tp is None else _record_position(written, tp))
        self._repeat_or_replace("offsets", lambda: self._send_offsets(positions, group_metadata))
        self._before_commit()
        self._repeat_or_replace("commit", lambda: producer.commit_transaction(self._timeout_s))
        producer.poll(0)
        return written

    def _send_offsets(self, positions: list[KafkaTopicPartition], group_metadata: bytes) -> None:
        """Send the offsets. Raises TimeoutError if librdkafka exceeds its own timeout."""
        producer = self._producer
        timeout_s = self._timeout_s / 2  # the call is retried, and a short timeout detects a hang sooner
        self._calls.call(
            lambda: producer.send_offsets_to_transaction(positions, group_metadata, timeout_s),
            timeout_s + _GRACE_S,
        )

    def _produce(
        self, output: Output, on_delivery: Callable[[KafkaError | None, Message], None] | None
    ) -> None:
        # Unset optional arguments are omitted, because the client does not accept None for them.
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
        """Do nothing; fault tests override this to stop or kill the process inside a transaction."""

    def _repeat(self, call: Callable[[], T]) -> T:
        """Retry a call after retriable errors. The transaction is not retried, since its outcome is unknown."""
        for _ in range(_MAX_CALLS):
            try:
                return call()
            except KafkaException as exc:
                error = exc.args[0]
                if error.txn_requires_abort() or error.fatal() or not error.retriable():
                    raise
                if self._giving_up:
                    break
                logger.warning("Retrying a transaction call: %s", error.str())
        raise FatalTransactionError(
            f"The transaction of {self._transactional_id!r} was neither committed nor refused despite retries; "
            "its outcome is unknown. The next start reads it from the broker."
        )

    def _repeat_or_replace(self, name: str, call: Callable[[], None]) -> None:
        """Retry a transaction call, but only for _MAX_TIMEOUTS if the producer can be replaced.

        Raises _StuckError when it still fails then: librdkafka can keep a request queued for a coordinator connection
        that it never makes again, although the broker is back.
        """
        deadline = self._now() + _MAX_TIMEOUTS * self._timeout_s

        def bounded() -> None:
            try:
                call()
            except KafkaException as exc:
                error = exc.args[0]
                passing = error.retriable() and not (error.txn_requires_abort() or error.fatal())
                if passing and self._can_replace and not self._giving_up and self._now() >= deadline:
                    raise _StuckError(f"the {name} call got no answer: {error.str()}") from exc
                raise

        self._repeat(bounded)

    def _abort(self) -> None:
        try:
            self._repeat_or_replace("abort", lambda: self._producer.abort_transaction(self._timeout_s))
        except _StuckError as exc:
            raise self._replace_producer(str(exc)) from exc
        except KafkaException as exc:
            raise self._fatal_or_replaced(exc.args[0]) from exc

    def _fatal_or_replaced(self, error: KafkaError) -> ExactlyOnceError:
        """Return the exception for a producer that has become unusable.

        If the transaction was open for longer than its timeout, because the brokers or this process stalled, the broker
        has ended it and fenced the producer. If it was open for less, another process uses our transactional id;
        taking it back would only make the two fence each other.
        """
        open_s = self._now() - self._began
        if not self._can_replace or not error.fatal() or open_s < self._timeout_s:
            return self._fatal(error)
        return self._replace_producer(
            f"{error.name()}: the transaction was open for {open_s:.0f} s, and the broker ends a transaction after "
            f"{self._timeout_s:g} s"
        )

    def _replace_producer(self, why: str, *, hangs: bool = False) -> ExactlyOnceError:
        """Initialize a new producer with the transactional id, which ends the old producer's transaction."""
        if not self._can_replace:
            return FatalTransactionError(f"{why}; the next owner of {self._transactional_id!r} continues")
        old, self._producer = self._producer, Producer(self._config)
        if hangs:
            leak(old)
            self._calls.close()  # the thread ends when its call returns, if ever
            self._calls = CallThread("offsets")
        else:
            threading.Thread(target=_drop, args=(old,), name="drop producer", daemon=True).start()
            del old
        try:
            self._repeat(lambda: self._producer.init_transactions(self._timeout_s))
        except KafkaException as exc:
            return self._fatal(exc.args[0])
        return TransactionEndedError(f"{why}; its units are read again unless it was committed")

    def _fatal(self, error: KafkaError) -> FatalTransactionError:
        return FatalTransactionError(
            f"The transactional producer {self._transactional_id!r} is unusable: {error.name()} ({error.str()}). "
            "Another process uses its transactional id, or the brokers refuse its requests."
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
    """Purge and release a fenced producer; runs on its own thread, because freeing it may wait for brokers."""
    with suppress(KafkaException):
        producer.purge()


def _is_from_kafka(error: BaseException | None) -> bool:
    """Return whether an error is, or was caused by, a KafkaException.

    confluent-kafka raises a fatal error inside a callback. A log callback delivered after it runs with that error
    still set, which CPython reports as a SystemError caused by it.
    """
    while error is not None and not isinstance(error, KafkaException):
        error = error.__cause__
    return error is not None


def _backoff_s() -> Iterator[float]:
    """Yield the pauses between attempts: none before the second, then growing to one second."""
    yield 0.0
    pause_s = 0.05
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, 1.0)


def _record_position(
    written: dict[TopicPartition, int], tp: TopicPartition
) -> Callable[[KafkaError | None, Message], None]:
    def on_delivery(error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        if error is None and offset is not None:
            written[tp] = offset + 1

    return on_delivery
