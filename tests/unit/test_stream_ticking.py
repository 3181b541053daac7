"""What a worker does when a tick cannot be written: it says so once, goes on, and tries again."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.records import Outcome
from schemas.wire import Codec
from stream.scoring.labels.labelling import Labels
from stream.worker import ticking
from stream.worker.ticking import Ticker

STREAM_AT = 1_000_000_000
REPEATED_S = 31.0


class FakeProducer:
    """Raises or reports the next of its failures; None, or no more of them, delivers the record."""

    def __init__(self, *failures: Exception | KafkaError | None) -> None:
        self.failures = list(failures)
        self.written: list[Outcome] = []

    def produce(
        self, topic: str, value: bytes, key: str, *, partition: int, on_delivery: Callable[..., None]
    ) -> None:
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Exception):
            raise failure
        if failure is None:
            self.written.append(Codec(Outcome).decode(value))
        on_delivery(failure, None)

    def poll(self, timeout: float) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(s=1000.0)
    times = SimpleNamespace(monotonic_ns=lambda: int(now.s * 1e9), time=lambda: 2_000_000.0)
    monkeypatch.setattr(ticking, "time", times)
    return now


def looked(producer: FakeProducer, clock: SimpleNamespace, times: int) -> None:
    """Let an idle partition in which something is due be looked at so often, after each wait for a repetition."""
    labels: Any = SimpleNamespace(
        settings=SimpleNamespace(step_ms=3_600_000),
        stream_at=lambda _partition: STREAM_AT,
        next_due_at=lambda _partition: STREAM_AT + 1,
    )
    ticker = Ticker(cast("Labels", labels), "outcomes", lambda: cast("Producer", producer))
    ticker.look([3])
    for _ in range(times):
        clock.s += REPEATED_S
        ticker.look([3])


def failure(code: int) -> KafkaException:
    return KafkaException(KafkaError(code))


@pytest.mark.parametrize(
    "first",
    [failure(KafkaError._UNKNOWN_TOPIC), BufferError("queue full"), KafkaError(KafkaError._TRANSPORT)],
)
def test_a_tick_that_could_not_be_written_is_written_later(
    first: Exception | KafkaError, clock: SimpleNamespace
) -> None:
    producer = FakeProducer(first)
    looked(producer, clock, times=2)
    assert [tick.observed_at for tick in producer.written] == [STREAM_AT + 2 * int(REPEATED_S * 1000)]


def test_a_refused_tick_is_told_once_and_again_after_one_that_was_written(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    producer = FakeProducer(refused, failure(KafkaError._UNKNOWN_TOPIC), None, refused)
    with caplog.at_level(logging.WARNING, "stream.worker.ticking"):
        looked(producer, clock, times=4)
    assert len(producer.written) == 1
    assert len(caplog.records) == 2
    assert "labels.ticks=false" in caplog.records[0].message
