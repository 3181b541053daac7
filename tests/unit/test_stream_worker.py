"""How a worker is put together, when it says that it is ready, and when it gives up."""

from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from model.loaded import LoadedModel
from stream.assembly import check
from stream.errors import ConfigurationError, StuckError
from stream.exactly_once import Hold
from stream.exactly_once.engine import EngineStats
from stream.exactly_once.intake import Held
from stream.exactly_once.records import Epoch, RecordBatch, TopicPartition
from stream.metrics import WorkerMetrics
from stream.settings import (
    MEBIBYTE,
    MemorySettings,
    Settings,
    TextSettings,
    TimeSettings,
    UnitSettings,
    WindowSettings,
)
from stream.worker import Parts, SwayApp, _watch, build_app
from tests.running_engine import Record

EVENTS_2 = TopicPartition("sway.events", 2)


class NoScorer:
    """Never asked."""

    def submit(self, jobs: Any) -> "Future[Any]":
        raise AssertionError("nothing is scored here")


@pytest.fixture
def app(tiny_model: LoadedModel, tmp_path: Path) -> SwayApp:
    settings = Settings(
        app_id="app",
        state_dir=tmp_path,
        units=UnitSettings(max_records=7),
        memory=MemorySettings(values_mb=100, rocksdb_mb=50),
        time=TimeSettings(stuck_after_s=30),
    )
    return build_app(settings, Parts(tiny_model, NoScorer()))


def test_a_behaviour_must_fit_into_a_window_or_both_settings_are_named() -> None:
    fits = Settings(text=TextSettings(max_item_text_chars=500), window=WindowSettings(max_bytes=3700))
    check(fits)
    with pytest.raises(ConfigurationError, match=r"max_item_text_chars=501.*3704.*window\.max_bytes=3700"):
        check(fits.model_copy(update={"text": TextSettings(max_item_text_chars=501)}))


def test_the_settings_reach_the_engine_and_faust(app: SwayApp) -> None:
    assert set(app.config.input_topics) == {"sway.events", "sway.outcomes"}
    assert app.config.unit_max_records == 7
    limits = {table.name: table.layers.max_cached_bytes for table in app._layered}
    assert set(limits) == {"windows", "pending", "estimates", "items"}
    assert sum(limits.values()) == 100 * MEBIBYTE
    assert app.config.max_store_memory_bytes == 50 * MEBIBYTE
    assert app.conf.id == "app"
    assert app.changelog_topic("windows") == "app-windows-changelog"
    assert app.conf.broker_session_timeout == 30.0
    assert 'sway_model{device="cpu",dtype="fp32",version="tiny"} 1.0' in app.metrics.render().decode()


def test_a_worker_is_ready_when_its_engine_runs_and_it_waits_for_nothing(app: SwayApp) -> None:
    assert app.not_ready_because == "starting"
    engine: Any = SimpleNamespace(state="recovering 4 partitions", doing="recovering 4 partitions: 3 to go")
    app._engine = engine
    assert app.not_ready_because == "recovering 4 partitions: 3 to go"
    engine.state = "running"
    assert app.not_ready_because is None
    app.waiting_for = "waiting for the Schema Registry"
    assert app.not_ready_because == "waiting for the Schema Registry"


def test_a_worker_that_holds_a_partition_back_says_for_which_schema(app: SwayApp) -> None:
    engine: Any = SimpleNamespace(state="running", doing="running")
    app._engine = engine
    assert app._intake is not None
    app._intake.held[2] = held_back()
    assert app.not_ready_because == (
        "held back: sway.events[2] waits at offset 17: No published schema has it. Upgrade."
    )


@pytest.mark.parametrize(("stuck_after_s", "interval_s"), [(120, 1000), (3600, 7200)])
def test_the_watch_judges_before_aiokafka_leaves_its_group(
    stuck_after_s: float, interval_s: float, tmp_path: Path
) -> None:
    settings = Settings(state_dir=tmp_path, time=TimeSettings(stuck_after_s=stuck_after_s))
    assert SwayApp(settings, WorkerMetrics()).conf.broker_max_poll_interval == interval_s


def held_back() -> Held:
    record = Record(EVENTS_2.topic, EVENTS_2.partition, 17, b"")
    batch = RecordBatch(*EVENTS_2, [record], 17, 18, Epoch(1, "member"))
    hold = Hold(0, "schema fingerprint 00", "No published schema has it. Upgrade.")
    return Held(hold, deque([batch]))


class FakeApp:
    """What the watch looks at."""

    def __init__(self, lag: int, in_flight: int, stalled_s: float) -> None:
        self.waiting_for: str | None = None
        self.held: dict[int, Any] = {}
        self.settings = Settings(time=TimeSettings(stuck_after_s=30))
        self.failures: list[BaseException] = []
        self.observed: list[Any] = []
        self.shown: dict[int, str] = {}
        self.metrics = SimpleNamespace(
            observe=lambda *figures: self.observed.append(figures), show_held=self.shown.update
        )
        self.consumer = SimpleNamespace(positions=dict)
        self.engine = SimpleNamespace(
            stats=EngineStats(in_flight_records=in_flight),
            state="running",
            doing="running",
            lag=lambda _positions: {EVENTS_2: lag},
            stalled_s=lambda behind: stalled_s if behind or in_flight else 0.0,
            fail=self._fail,
        )
        self.not_ready_because: str | None = None
        self.watch: Callable[[], Awaitable[None]]

    async def _fail(self, reason: BaseException) -> None:
        self.failures.append(reason)

    def timer(self, _interval_s: float, *, name: str) -> Callable[[Any], None]:
        assert name == "watch"
        return lambda watch: setattr(self, "watch", watch)


async def watched(app: FakeApp) -> list[BaseException]:
    """Let the watch look once; return what it ended the process with."""
    _watch(cast("SwayApp", app))
    await app.watch()
    return app.failures


async def test_lag_without_progress_ends_the_process_and_says_what_was_to_do() -> None:
    app = FakeApp(lag=12, in_flight=3, stalled_s=31)
    (failure,) = await watched(app)
    assert isinstance(failure, StuckError)
    assert str(failure) == (
        "No progress for 31 s (time.stuck_after_s=30) with 12 records to fetch and 3 in flight, while running."
    )
    assert app.observed == [(app.engine.stats, {EVENTS_2: 12}, True)]


@pytest.mark.parametrize(("lag", "in_flight", "stalled_s"), [(12, 3, 29), (0, 0, 1000)])
async def test_progress_or_nothing_to_do_is_not_stuck(lag: int, in_flight: int, stalled_s: float) -> None:
    assert await watched(FakeApp(lag, in_flight, stalled_s)) == []


async def test_the_lag_of_a_partition_that_is_held_back_is_not_stuck() -> None:
    app = FakeApp(lag=12, in_flight=0, stalled_s=31)
    app.held = {2: held_back()}
    assert await watched(app) == []
    assert app.shown == {2: "schema fingerprint 00"}
    app.held = {1: held_back()}
    assert len(await watched(app)) == 1


async def test_waiting_for_something_outside_counts_as_progress() -> None:
    app = FakeApp(lag=12, in_flight=0, stalled_s=0)
    app.engine.stats.last_progress -= 1000
    before = app.engine.stats.last_progress
    app.waiting_for = "waiting for the Schema Registry"
    assert await watched(app) == []
    assert app.engine.stats.last_progress > before + 900
