"""Each class of error has one response: repeat the call, rewrite the unit, drop it, or end the process."""

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream.exactly_once.kafka import transactions
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.errors import (
    FatalTransactionError,
    FencedError,
    RecordTooLargeError,
    StartError,
    TransactionEndedError,
)
from stream.exactly_once.units.records import Output, TopicPartition
from tests.support.scripted_producer import ScriptedProducer, error

CHANGELOG = TopicPartition("t.changelog", 2)
OFFSETS = {TopicPartition("t.events", 2): 7, TopicPartition("t.outcomes", 2): 3}
OUTPUTS = [
    Output("t.scores", b"ann", b"1", partition=None, timestamp_ms=None),
    Output(CHANGELOG.topic, b"ann", b"w1", partition=2, timestamp_ms=None),
    Output(CHANGELOG.topic, b"bob", None, partition=2, timestamp_ms=1_700_000_000_000),
]

RETRIABLE = error(KafkaError._TIMED_OUT, retriable=True)
ABORTABLE = error(KafkaError.INVALID_TXN_STATE, txn_requires_abort=True)
FENCED = error(KafkaError.ILLEGAL_GENERATION, txn_requires_abort=True)
FATAL = error(KafkaError._FENCED, fatal=True)
ATTEMPT = ["begin", "produce", "produce", "produce", "offsets", "commit"]


@pytest.fixture
def producer() -> ScriptedProducer:
    return ScriptedProducer()


@pytest.fixture
def writer(producer: ScriptedProducer, monkeypatch: pytest.MonkeyPatch) -> TransactionWriter:
    def connect(config: dict[str, Any]) -> ScriptedProducer:
        producer.config = config
        producer.connected += 1
        return producer

    monkeypatch.setattr(transactions, "Producer", connect)
    return TransactionWriter(
        {"bootstrap.servers": "b:1"},
        "app-slot",
        transaction_timeout_s=10.0,
        max_record_bytes=100,
        now=lambda: producer.time_s,
    )


def commit(writer: TransactionWriter) -> dict[TopicPartition, int]:
    return writer.commit(OUTPUTS, OFFSETS, b"metadata", {CHANGELOG: 2})


def calls(producer: ScriptedProducer) -> list[str]:
    return [call for call in producer.calls if call != "poll"]


def test_a_unit_is_one_transaction_with_offsets_and_group_metadata(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    assert commit(writer) == {CHANGELOG: 42}  # the offset after its last record; no other topic is tracked
    assert calls(producer) == ATTEMPT
    assert producer.sent == [({tuple(tp): offset for tp, offset in OFFSETS.items()}, b"metadata")]
    assert producer.produced == [
        ("t.scores", b"ann", b"1", {}),
        (CHANGELOG.topic, b"ann", b"w1", {"partition": 2}),
        (CHANGELOG.topic, b"bob", None, {"partition": 2, "timestamp": 1_700_000_000_000}),
    ]


def test_the_producer_is_transactional_and_partitions_like_java(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    wanted = {
        "bootstrap.servers": "b:1",
        "transactional.id": "app-slot",
        "transaction.timeout.ms": 10_000,
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "reconnect.backoff.max.ms": 1000,
    }
    assert producer.config.items() >= wanted.items()


@pytest.mark.parametrize("call", ["offsets", "commit"])
def test_a_retriable_failure_repeats_only_its_call(
    writer: TransactionWriter, producer: ScriptedProducer, call: str
) -> None:
    producer.fails(call, RETRIABLE, RETRIABLE)
    commit(writer)
    place = ATTEMPT.index(call)
    assert calls(producer) == [*ATTEMPT[:place], call, call, *ATTEMPT[place:]]


def test_a_commit_with_unknown_outcome_ends_the_process(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    producer.fails("commit", *[RETRIABLE] * 1000)
    with pytest.raises(FatalTransactionError, match="outcome is unknown"):
        commit(writer)
    assert producer.calls.count("begin") == 1
    assert "abort" not in producer.calls
    assert producer.calls.count("commit") < 100


@pytest.mark.parametrize(
    ("call", "failure"), [("offsets", RETRIABLE), ("commit", RETRIABLE), ("produce", ABORTABLE)]
)
def test_after_give_up_a_commit_succeeds_or_fails_at_once(
    writer: TransactionWriter, producer: ScriptedProducer, call: str, failure: KafkaException
) -> None:
    writer.give_up()
    commit(writer)
    producer.calls.clear()
    producer.fails(call, *[failure] * 1000)
    with pytest.raises(FatalTransactionError):
        commit(writer)
    assert producer.calls.count(call) == 1


@pytest.mark.parametrize("call", ["begin", "produce", "offsets", "commit"])
def test_an_abortable_failure_rewrites_the_unit(
    writer: TransactionWriter, producer: ScriptedProducer, call: str
) -> None:
    producer.fails(call, ABORTABLE)
    written = commit(writer)
    place = ATTEMPT.index(call) + 1
    assert calls(producer) == [*ATTEMPT[:place], "abort", *ATTEMPT]
    assert producer.produced[-3:] == [
        ("t.scores", b"ann", b"1", {}),
        (CHANGELOG.topic, b"ann", b"w1", {"partition": 2}),
        (CHANGELOG.topic, b"bob", None, {"partition": 2, "timestamp": 1_700_000_000_000}),
    ]
    assert written.keys() == {CHANGELOG}


def test_positions_are_those_of_the_committed_attempt(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    producer.fails("commit", None)
    first = commit(writer)
    producer.fails("offsets", ABORTABLE)
    assert commit(writer)[CHANGELOG] == first[CHANGELOG] + 1


def test_an_abort_is_repeated_on_retriable_failures(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    producer.fails("commit", ABORTABLE)
    producer.fails("abort", RETRIABLE)
    commit(writer)
    assert calls(producer) == [*ATTEMPT, "abort", "abort", *ATTEMPT]


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
    ],
)
@pytest.mark.parametrize("call", ["offsets", "commit"])
def test_a_fenced_transaction_is_aborted_and_not_retried(
    writer: TransactionWriter, producer: ScriptedProducer, code: int, call: str
) -> None:
    producer.fails(call, error(code, txn_requires_abort=True))
    with pytest.raises(FencedError):
        commit(writer)
    assert calls(producer)[-1] == "abort"
    assert producer.calls.count("begin") == 1
    commit(writer)  # the producer is usable in the next epoch


def test_a_fatal_failure_ends_the_process_without_another_call(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    producer.fails("commit", FATAL)
    with pytest.raises(FatalTransactionError, match=r"app-slot.*uses its transactional id"):
        commit(writer)
    assert calls(producer) == ATTEMPT


@pytest.mark.parametrize("call", ["offsets", "commit", "abort"])
def test_a_transaction_ended_by_the_broker_replaces_the_producer(
    writer: TransactionWriter, producer: ScriptedProducer, call: str
) -> None:
    producer.takes_s = {call: 10.0}  # the transaction timeout
    producer.fails("commit", ABORTABLE)
    producer.fails(call, FATAL)
    producer.fails("init", RETRIABLE)
    with pytest.raises(TransactionEndedError, match="open for 10 s"):
        commit(writer)
    assert calls(producer)[-3:] == [call, "init", "init"]
    assert producer.connected == 2
    producer.takes_s = {}
    assert commit(writer).keys() == {CHANGELOG}


@pytest.mark.parametrize("call", ["offsets", "commit", "abort"])
def test_an_unanswered_call_replaces_the_producer(
    writer: TransactionWriter, producer: ScriptedProducer, call: str
) -> None:
    """librdkafka may never reconnect to a coordinator that was unreachable."""
    producer.takes_s = {call: 10.0}  # the transaction timeout
    if call == "abort":
        producer.fails("commit", ABORTABLE)
    producer.fails(call, *[RETRIABLE] * 1000)
    with pytest.raises(TransactionEndedError, match=f"the {call} call got no answer"):
        commit(writer)
    assert producer.calls.count(call) == 2
    assert calls(producer)[-1] == "init"
    assert producer.connected == 2


def test_a_call_that_ignores_its_timeout_replaces_the_producer(
    producer: ScriptedProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "Producer", lambda config: producer)
    monkeypatch.setattr(transactions, "_GRACE_S", 0.05)
    writer = TransactionWriter({}, "app-slot", transaction_timeout_s=0.05, max_record_bytes=100)
    hanging = producer.hangs = threading.Event()
    with pytest.raises(TransactionEndedError, match="does not return"):
        commit(writer)
    assert calls(producer)[-2:] == ["offsets", "init"]
    assert "commit" not in producer.calls  # so none of its records can become visible
    producer.hangs = None
    monkeypatch.setattr(transactions, "_GRACE_S", 30.0)
    assert commit(writer).keys() == {CHANGELOG}
    hanging.set()


def test_a_writer_without_replacement_ends_after_an_old_transaction(
    producer: ScriptedProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "Producer", lambda config: producer)
    writer = TransactionWriter(
        {},
        "app-handover",
        transaction_timeout_s=10.0,
        max_record_bytes=100,
        can_replace=False,
        now=lambda: producer.time_s,
    )
    producer.takes_s = {"commit": 60.0}
    producer.fails("commit", FATAL)
    with pytest.raises(FatalTransactionError):
        commit(writer)
    assert "init" not in calls(producer)


def test_fencing_of_a_young_transaction_does_not_replace_the_producer(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    producer.takes_s = {"offsets": 20.0}
    commit(writer)  # its duration does not count for the next transaction
    producer.takes_s = {"offsets": 9.9}
    producer.fails("commit", FATAL)
    with pytest.raises(FatalTransactionError, match=r"app-slot.*uses its transactional id"):
        commit(writer)
    assert (producer.connected, "init" in producer.calls) == (1, False)


def test_a_producer_that_cannot_be_replaced_ends_the_process(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    producer.takes_s = {"commit": 11.0}
    producer.fails("commit", FATAL)
    producer.fails("init", error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED))
    with pytest.raises(FatalTransactionError, match="AUTHORIZATION"):
        commit(writer)


def test_a_permanent_failure_ends_the_process(writer: TransactionWriter, producer: ScriptedProducer) -> None:
    producer.fails("offsets", error(KafkaError._INVALID_ARG))
    with pytest.raises(FatalTransactionError):
        commit(writer)
    assert producer.calls.count("begin") == 1


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ],
)
def test_a_permanent_refusal_ends_the_process_without_retries(
    writer: TransactionWriter, producer: ScriptedProducer, code: int
) -> None:
    producer.fails("offsets", error(code, txn_requires_abort=True))
    with pytest.raises(FatalTransactionError):
        commit(writer)
    assert (producer.calls.count("begin"), producer.calls.count("abort")) == (1, 1)


def test_a_writer_without_replacement_ends_when_librdkafka_hangs(
    producer: ScriptedProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "Producer", lambda config: producer)
    monkeypatch.setattr(transactions, "_GRACE_S", 0.05)
    writer = TransactionWriter(
        {}, "app-replay-0", transaction_timeout_s=0.05, max_record_bytes=100, can_replace=False
    )
    hanging = producer.hangs = threading.Event()
    with pytest.raises(FatalTransactionError, match="does not return"):
        commit(writer)
    assert "init" not in calls(producer)
    hanging.set()


def test_a_failed_abort_ends_the_process(writer: TransactionWriter, producer: ScriptedProducer) -> None:
    producer.fails("commit", FENCED)
    producer.fails("abort", FATAL)
    with pytest.raises(FatalTransactionError):
        commit(writer)


def test_a_full_queue_is_drained_and_the_record_produced_once(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    producer.fails("produce", None, BufferError(), BufferError())
    commit(writer)
    assert [topic for topic, *_ in producer.produced] == ["t.scores", CHANGELOG.topic, CHANGELOG.topic]
    assert producer.calls.count("poll") >= 2


def _system_error(cause: BaseException) -> SystemError:
    """Return the error that CPython raises when a log callback runs while an exception is set."""
    failure = SystemError("returned a result with an exception set")
    failure.__cause__ = cause
    return failure


@pytest.mark.parametrize("failure", [FATAL, _system_error(FATAL), _system_error(_system_error(FATAL))])
def test_a_fenced_producer_is_closed_without_an_error(
    writer: TransactionWriter, producer: ScriptedProducer, failure: Exception
) -> None:
    producer.fails("flush", failure)
    writer.close()
    assert producer.calls == ["flush"]


def test_close_raises_errors_that_are_not_kafkas(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    producer.fails("flush", SystemError("a fault of the interpreter"))
    with pytest.raises(SystemError, match="of the interpreter"):
        writer.close()


def test_a_too_large_record_is_refused_before_sending(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    too_large = Output("t.scores", b"k" * 50, b"v" * 51, partition=None, timestamp_ms=None)
    with pytest.raises(RecordTooLargeError, match=r"101 bytes for t\.scores.*max_record_bytes=100"):
        writer.commit([OUTPUTS[0], too_large], OFFSETS, b"metadata", {})
    assert producer.calls == []
    largest = Output("t.scores", b"k" * 50, b"v" * 50, partition=None, timestamp_ms=None)
    writer.commit([largest], OFFSETS, b"metadata", {})


def test_a_unit_without_offsets_is_refused(writer: TransactionWriter, producer: ScriptedProducer) -> None:
    with pytest.raises(ValueError, match="not be fenced"):
        writer.commit(OUTPUTS, {}, b"metadata", {})
    assert producer.calls == []


def test_a_missing_producer_id_is_reported_at_the_start(
    writer: TransactionWriter, producer: ScriptedProducer
) -> None:
    producer.fails("init", RETRIABLE)
    with pytest.raises(StartError, match=r"app-slot.*within 10 s"):
        writer.init(10.0)
