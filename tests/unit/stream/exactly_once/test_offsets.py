"""An epoch starts at stable committed offsets within the log. Anything else is an error or a logged reset."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException

from stream.exactly_once.kafka import offsets
from stream.exactly_once.kafka.offsets import (
    Cancelled,
    OffsetPolicy,
    OffsetReset,
    stable_offsets,
    start_offsets,
    wait_for_stable_offsets,
    watermarks,
)
from stream.exactly_once.units.errors import OffsetOutOfRangeError
from stream.exactly_once.units.records import TopicPartition
from stream.exactly_once.units.topic_ids import Committed

TP = TopicPartition("t.events", 3)
OTHER = TopicPartition("t.outcomes", 3)


class FakeConsumer:
    """Returns answers from lists, and raises the exceptions in them."""

    def __init__(self, *, committed: Any = (), watermarks: Any = ()) -> None:
        self.answers = {"committed": list(committed), "watermarks": list(watermarks)}
        self.asked: list[Any] = []

    def committed(self, partitions: list[Any], timeout: float) -> Any:
        self.asked.append([(tp.topic, tp.partition) for tp in partitions])
        return self._next("committed")

    def get_watermark_offsets(self, partition: Any, timeout: float) -> Any:
        self.asked.append((partition.topic, partition.partition))
        return self._next("watermarks")

    def _next(self, name: str) -> Any:
        answer = self.answers[name].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={TP.topic: SimpleNamespace(partitions={TP.partition: None})})

    def close(self) -> None: ...

    def as_consumer(self) -> Consumer:
        return cast("Consumer", self)


def failure(code: int, *, retriable: bool = False) -> KafkaException:
    return KafkaException(KafkaError(code, "why", retriable=retriable))


def answer(
    offset: int, error: KafkaError | None = None, tp: TopicPartition = TP, note: str | None = None
) -> Any:
    return SimpleNamespace(topic=tp.topic, partition=tp.partition, offset=offset, error=error, metadata=note)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "_RETRY_PAUSE_S", 0.0)


def never_cancelled() -> bool:
    return False


def test_committed_offsets_are_returned_with_none_if_missing() -> None:
    consumer = FakeConsumer(committed=[[answer(7, note="a:b"), answer(OFFSET_INVALID, tp=OTHER)]])
    found = stable_offsets(consumer.as_consumer(), [TP, OTHER], never_cancelled)
    assert found == {TP: Committed(7, "a:b"), OTHER: Committed(None)}
    assert consumer.asked == [[TP, OTHER]]


def test_an_unstable_offset_is_retried_until_its_transaction_ends() -> None:
    unstable = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)
    consumer = FakeConsumer(
        committed=[
            failure(KafkaError._TIMED_OUT),
            [answer(OFFSET_INVALID, unstable)],
            failure(KafkaError._WAIT_COORD),
            failure(KafkaError.NOT_COORDINATOR, retriable=True),
            [answer(9)],
        ]
    )
    assert stable_offsets(consumer.as_consumer(), [TP], never_cancelled) == {TP: Committed(9)}
    assert len(consumer.asked) == 5


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    ],
)
def test_an_unavailable_coordinator_is_retried(
    code: int,
) -> None:
    consumer = FakeConsumer(committed=[failure(code), [answer(9)]])
    assert stable_offsets(consumer.as_consumer(), [TP], never_cancelled) == {TP: Committed(9)}


def test_other_failures_are_raised() -> None:
    consumer = FakeConsumer(committed=[failure(KafkaError.GROUP_AUTHORIZATION_FAILED)])
    with pytest.raises(KafkaException):
        stable_offsets(consumer.as_consumer(), [TP], never_cancelled)


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        ([answer(3)], "a transaction with its offsets has not ended"),
        (failure(KafkaError._TIMED_OUT), "the group's coordinator does not answer"),
    ],
)
def test_overdue_offsets_are_retried_with_a_new_client_and_logged(
    reply: Any, cause: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(offsets, "_NEW_CLIENT_AFTER_S", -1.0)
    clients = [FakeConsumer(), FakeConsumer()]

    def connect() -> Consumer:
        if len(clients) == 1:
            monkeypatch.setattr(offsets, "_NEW_CLIENT_AFTER_S", 30.0)
            clients[0].answers["committed"] = [[answer(9)]]
        return clients.pop(0).as_consumer()

    uncommitted = FakeConsumer(committed=[reply]).as_consumer()
    assert wait_for_stable_offsets(connect, uncommitted, [TP], never_cancelled) == {TP: Committed(9)}
    assert cause in caplog.text


def test_waiting_for_a_stable_offset_ends_with_the_epoch() -> None:
    consumer = FakeConsumer(committed=[failure(KafkaError._TIMED_OUT)] * 3)
    with pytest.raises(Cancelled):
        stable_offsets(consumer.as_consumer(), [TP], lambda: len(consumer.asked) == 3)


@pytest.mark.parametrize("offset", [5, 8, 20])
def test_an_offset_within_the_log_is_kept(offset: int) -> None:
    consumer = FakeConsumer(watermarks=[(5, 20)])
    starts = start_offsets(consumer.as_consumer(), {TP: offset}, OffsetPolicy(new="error"), never_cancelled)
    assert (starts.offsets, starts.resets, starts.lost_records) == ({TP: offset}, 0, 0)


@pytest.mark.parametrize("new", ["earliest", "latest", "error"])
@pytest.mark.parametrize("offset", [4, 21, 0])
def test_an_offset_outside_the_log_is_an_error(offset: int, new: OffsetReset) -> None:
    consumer = FakeConsumer(watermarks=[(5, 20)])
    with pytest.raises(OffsetOutOfRangeError) as raised:
        start_offsets(consumer.as_consumer(), {TP: offset}, OffsetPolicy(new=new), never_cancelled)
    for part in (
        f"offset {offset} of t.events[3]",
        "removed by retention",
        "5 to 20",
        "lost_offset_reset",
    ):
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("offset", "lost", "start", "records"),
    [(2, "earliest", 5, 3), (2, "latest", 20, 18), (21, "earliest", 20, 0), (21, "latest", 20, 0)],
)
def test_a_lost_offset_is_reset_and_counted_if_configured(
    offset: int, lost: OffsetReset, start: int, records: int, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = FakeConsumer(watermarks=[(5, 20)])
    starts = start_offsets(
        consumer.as_consumer(), {TP: offset}, OffsetPolicy(new="error", lost=lost), never_cancelled
    )
    assert (starts.offsets, starts.resets, starts.lost_records) == ({TP: start}, 1, records)
    assert f"t.events[3] continues at {start} instead of its committed offset {offset}" in caplog.text


def test_an_offset_of_a_recreated_topic_is_lost() -> None:
    consumer = FakeConsumer(watermarks=[(5, 20), (5, 20)])
    with pytest.raises(OffsetOutOfRangeError, match="recreated"):
        start_offsets(
            consumer.as_consumer(), {TP: 9}, OffsetPolicy(), never_cancelled, {TP: "it was recreated"}
        )
    policy = OffsetPolicy(lost="earliest")
    starts = start_offsets(consumer.as_consumer(), {TP: 9}, policy, never_cancelled, {TP: "again"})
    assert starts.offsets == {TP: 5}


@pytest.mark.parametrize(("new", "start"), [("earliest", 5), ("latest", 20)])
def test_without_a_committed_offset_the_setting_decides(new: OffsetReset, start: int) -> None:
    consumer = FakeConsumer(watermarks=[(5, 20), (0, 3)])
    starts = start_offsets(
        consumer.as_consumer(), {TP: None, OTHER: 2}, OffsetPolicy(new=new), never_cancelled
    )
    assert (starts.offsets, starts.resets) == ({TP: start, OTHER: 2}, 0)


def test_a_missing_committed_offset_can_be_an_error() -> None:
    consumer = FakeConsumer(watermarks=[(5, 20)])
    with pytest.raises(OffsetOutOfRangeError, match=r"t\.events\[3\].*offset_reset"):
        start_offsets(
            consumer.as_consumer(), {TP: None}, OffsetPolicy(new="error", lost="earliest"), never_cancelled
        )


def test_watermarks_are_retried_while_the_broker_does_not_answer() -> None:
    consumer = FakeConsumer(watermarks=[failure(KafkaError._TIMED_OUT), None, (1, 2)])
    assert watermarks(consumer.as_consumer(), TP, never_cancelled) == (1, 2)
    assert consumer.asked == [TP] * 3


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError._UNKNOWN_PARTITION,  # librdkafka's code for a partition without a leader
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._ALL_BROKERS_DOWN,
    ],
)
def test_watermarks_are_retried_during_a_leader_change(code: int) -> None:
    consumer = FakeConsumer(watermarks=[failure(code), (1, 2)])
    assert watermarks(consumer.as_consumer(), TP, never_cancelled) == (1, 2)


def test_waiting_for_watermarks_ends_with_the_epoch_or_a_failure() -> None:
    consumer = FakeConsumer(watermarks=[None, failure(KafkaError.TOPIC_AUTHORIZATION_FAILED)])
    with pytest.raises(Cancelled):
        watermarks(consumer.as_consumer(), TP, lambda: bool(consumer.asked))
    with pytest.raises(KafkaException):
        watermarks(consumer.as_consumer(), TP, never_cancelled)
