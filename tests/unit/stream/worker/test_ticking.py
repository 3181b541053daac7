"""A worker that cannot write a tick warns once, continues and tries again."""

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
    """Producer that raises or reports its failures in order. It delivers a record at None and after the last."""

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


def look_repeatedly(producer: FakeProducer, clock: SimpleNamespace, times: int) -> None:
    """Look at an idle partition with a due label, and again `times` times after each repetition interval."""
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
def test_a_failed_tick_is_written_later(first: Exception | KafkaError, clock: SimpleNamespace) -> None:
    producer = FakeProducer(first)
    look_repeatedly(producer, clock, times=2)
    assert [tick.observed_at for tick in producer.written] == [STREAM_AT + 2 * int(REPEATED_S * 1000)]


def test_refused_ticks_warn_once_until_one_is_written(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    producer = FakeProducer(refused, failure(KafkaError._UNKNOWN_TOPIC), None, refused)
    with caplog.at_level(logging.WARNING, "stream.worker.ticking"):
        look_repeatedly(producer, clock, times=4)
    assert len(producer.written) == 1
    assert len(caplog.records) == 2
    assert "labels.ticks=false" in caplog.records[0].message
