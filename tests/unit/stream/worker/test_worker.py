"""The assembly of a worker from its settings, and its readiness."""

from concurrent.futures import Future
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model.loaded import LoadedModel
from schemas.topics import changelog_of
from stream.assembly import check
from stream.errors import ConfigurationError
from stream.exactly_once import ExactlyOnceConfig
from stream.exactly_once.units.records import TopicPartition
from stream.settings import (
    MEBIBYTE,
    MemorySettings,
    Settings,
    TextSettings,
    TimeSettings,
    UnitSettings,
    WindowSettings,
)
from stream.worker.app import Components, SwayApp, build_app
from stream.worker.metrics import WorkerMetrics
from tests.support.running_engine import held_back


class NoScorer:
    """A scorer that must not be called."""

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
    return build_app(settings, Components(tiny_model, NoScorer()))


def test_a_behaviour_must_fit_into_a_window() -> None:
    fits = Settings(text=TextSettings(max_item_text_chars=500), window=WindowSettings(max_bytes=3700))
    check(fits)
    with pytest.raises(ConfigurationError, match=r"max_item_text_chars=501.*3704.*window\.max_bytes=3700"):
        check(fits.model_copy(update={"text": TextSettings(max_item_text_chars=501)}))


def test_a_unit_has_the_limits_of_exactly_once_by_default(tiny_model: LoadedModel, tmp_path: Path) -> None:
    config = build_app(Settings(state_dir=tmp_path), Components(tiny_model, NoScorer())).config
    usual = ExactlyOnceConfig(config.input_topics, tmp_path, config.client_config)
    names = {field.name for field in fields(config)}
    limits = {name for name in names if name.startswith(("unit_", "max_in_flight_"))}
    assert len(limits) == 5
    for name in (*limits, "max_poll_records", "transaction_timeout_s"):
        assert getattr(config, name) == getattr(usual, name), name


def test_the_settings_reach_the_engine_and_faust(app: SwayApp) -> None:
    assert set(app.config.input_topics) == {"sway.events", "sway.outcomes"}
    assert app.config.unit_max_records == 7
    limits = {table.name: table.layers.max_cached_bytes for table in app._layered}
    assert set(limits) == {"windows", "pending", "estimates", "items"}
    assert sum(limits.values()) == 100 * MEBIBYTE
    assert {app.changelog_topic(table) for table in limits} == {
        changelog_of("app", table) for table in limits
    }
    assert app.config.max_store_memory_bytes == 50 * MEBIBYTE
    assert app.conf.id == "app"
    assert app.changelog_topic("windows") == "app-windows-changelog"
    assert app.conf.broker_session_timeout == 30.0
    assert 'sway_model{device="cpu",dtype="fp32",version="tiny"} 1.0' in app.metrics.render().decode()


def test_a_worker_is_ready_when_running_and_not_waiting(app: SwayApp) -> None:
    assert app.not_ready_reason == "starting"
    engine: Any = SimpleNamespace(state="recovering 4 partitions", status="recovering 4 partitions: 3 to go")
    app._engine = engine
    assert app.not_ready_reason == "recovering 4 partitions: 3 to go"
    engine.state = "running"
    assert app.not_ready_reason is None
    app.waiting_for = "waiting for the Schema Registry"
    assert app.not_ready_reason == "waiting for the Schema Registry"


def test_a_worker_with_a_paused_partition_is_not_ready(app: SwayApp) -> None:
    engine: Any = SimpleNamespace(state="running", status="running")
    app._engine = engine
    assert app._intake is not None
    app._intake.paused_partitions[2] = held_back(TopicPartition("sway.events", 2), 17)
    assert app.not_ready_reason == (
        "paused partitions: sway.events[2] is paused at offset 17: No published schema has it. Upgrade."
    )


@pytest.mark.parametrize(("stuck_after_s", "interval_s"), [(120, 1000), (3600, 7200)])
def test_the_watch_acts_before_aiokafka_leaves_the_group(
    stuck_after_s: float, interval_s: float, tmp_path: Path
) -> None:
    settings = Settings(state_dir=tmp_path, time=TimeSettings(stuck_after_s=stuck_after_s))
    assert SwayApp(settings, WorkerMetrics()).conf.broker_max_poll_interval == interval_s
