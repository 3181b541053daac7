"""When the watch ends a stuck worker, and how it reports hanging transactions."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stream.errors import StuckError
from stream.exactly_once.driver.engine import EngineStats
from stream.exactly_once.units.lag import Lag
from stream.exactly_once.units.records import TopicPartition
from stream.settings import Settings, TimeSettings
from stream.worker.app import SwayApp
from stream.worker.watch import HangingTransactions, watch
from tests.support.running_engine import held_back

EVENTS_2 = TopicPartition("sway.events", 2)


class FakeApp:
    """The parts of the application that the watch reads."""

    def __init__(self, lag: int, in_flight: int, stalled_s: float, silent_s: float = 0.0) -> None:
        self.waiting_for: str | None = None
        self.paused_partitions: dict[int, Any] = {}
        self.settings = Settings(time=TimeSettings(stuck_after_s=30))
        self.failures: list[BaseException] = []
        self.observed: list[Any] = []
        self.shown: dict[int, str] = {}
        self.metrics = SimpleNamespace(
            observe=lambda *figures: self.observed.append(figures), show_held=self.shown.update, encoded=0
        )
        self.consumer = SimpleNamespace(positions=dict)
        self.engine = SimpleNamespace(
            stats=EngineStats(in_flight_records=in_flight),
            state="running",
            status="running",
            input_lag=SimpleNamespace(silent_s=silent_s),
            lag=lambda _positions: {EVENTS_2: Lag(lag, lag, 50, 0.0)},
            stalled_s=lambda behind: stalled_s if behind or in_flight else 0.0,
            fail=self._fail,
        )
        self.not_ready_reason: str | None = None
        self.look: Callable[[], Awaitable[None]]

    async def _fail(self, reason: BaseException) -> None:
        self.failures.append(reason)

    def timer(self, _interval_s: float, *, name: str) -> Callable[[Any], None]:
        assert name == "watch"
        return lambda look: setattr(self, "look", look)


async def watched(app: FakeApp) -> list[BaseException]:
    """Run the watch once; return the errors that it ended the process with."""
    watch(cast("SwayApp", app))
    await app.look()
    return app.failures


async def test_lag_without_progress_ends_the_process() -> None:
    app = FakeApp(lag=12, in_flight=3, stalled_s=31)
    (failure,) = await watched(app)
    assert isinstance(failure, StuckError)
    assert str(failure) == (
        "No progress for 31 s (time.stuck_after_s=30) with 12 records to fetch and 3 in flight, while running."
    )
    assert app.observed == [(app.engine.stats, {EVENTS_2: Lag(12, 12, 50, 0.0)}, True)]


@pytest.mark.parametrize(("lag", "in_flight", "stalled_s"), [(12, 3, 29), (0, 0, 1000)])
async def test_a_worker_with_progress_or_without_work_is_not_stuck(
    lag: int, in_flight: int, stalled_s: float
) -> None:
    assert await watched(FakeApp(lag, in_flight, stalled_s)) == []


async def test_the_lag_of_a_paused_partition_is_not_stuck() -> None:
    app = FakeApp(lag=12, in_flight=0, stalled_s=31)
    app.paused_partitions = {2: held_back(EVENTS_2, 17)}
    assert await watched(app) == []
    assert app.shown == {2: "schema fingerprint 00"}
    app.paused_partitions = {1: held_back(EVENTS_2, 17)}
    assert len(await watched(app)) == 1


async def test_waiting_for_an_external_service_counts_as_progress() -> None:
    app = FakeApp(lag=12, in_flight=0, stalled_s=0)
    app.engine.stats.last_progress -= 1000
    before = app.engine.stats.last_progress
    app.waiting_for = "waiting for the Schema Registry"
    assert await watched(app) == []
    assert app.engine.stats.last_progress > before + 900


async def test_only_newly_encoded_texts_count_as_progress() -> None:
    app = FakeApp(lag=12, in_flight=3, stalled_s=0)
    app.metrics.encoded = 5_000
    app.engine.stats.last_progress -= 1000
    before = app.engine.stats.last_progress
    await watched(app)
    assert app.engine.stats.last_progress > before + 900
    app.engine.stats.last_progress = before
    await app.look()
    assert app.engine.stats.last_progress == before


@pytest.mark.parametrize(
    ("silent_s", "cause"),
    [
        (3.0, "The brokers answer but nothing is fetched from them: the consumer's fetcher has stopped."),
        (40.0, "The brokers have not answered for 40 s."),
    ],
)
async def test_the_error_says_whether_the_brokers_answer(silent_s: float, cause: str) -> None:
    (failure,) = await watched(FakeApp(lag=12, in_flight=0, stalled_s=31, silent_s=silent_s))
    assert str(failure).endswith(f"0 in flight, while running. {cause}")


def transaction_open_for(seconds: float, offset: int = 7) -> dict[TopicPartition, Lag]:
    """Return the lag behind a transaction that has been open for some seconds, with three offsets after it."""
    return {EVENTS_2: Lag(0, 3, offset, seconds)}


def test_a_hanging_transaction_and_its_end_are_reported_once() -> None:
    hanging = HangingTransactions(30.0)
    assert hanging.look(transaction_open_for(30)) == []
    (warning,) = hanging.look(transaction_open_for(31))
    assert warning.startswith(
        "sway.events[2]: a transaction of another producer has been open at offset 7 for 31 s, and 3 offsets wait"
    )
    assert hanging.look(transaction_open_for(32)) == []
    (report,) = hanging.look(transaction_open_for(0, offset=10))
    assert report == "sway.events[2]: the transaction at offset 7 has ended"
    assert hanging.look(transaction_open_for(0, offset=10)) == []


def test_the_next_hanging_transaction_is_reported() -> None:
    hanging = HangingTransactions(30.0)
    hanging.look(transaction_open_for(31))
    (warning,) = hanging.look(transaction_open_for(31, offset=20))
    assert "open at offset 20" in warning
