"""A new champion is offered once it works. While the registry fails, the old one stays and an alarm is raised."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.errors import ModelCorrupt
from model.loading import joint
from model.network import NetworkSettings
from model.registry import ModelRegistry
from model.text import TextSettings
from stream.worker.champion import reason_of
from tests.unit.stream.worker.champion_bench import ChampionBench


@pytest.fixture
def bench(tmp_path: Path, tiny_base: Path) -> ChampionBench:
    return ChampionBench(tmp_path, tiny_base)


def test_the_serving_champion_is_not_offered_again(bench: ChampionBench) -> None:
    bench.watcher.poll()
    assert bench.offered == []
    assert bench.shown("sway_champion_alarm") == 0


def test_a_new_champion_is_offered_once_and_shares_the_tokenizer(bench: ChampionBench) -> None:
    bench.metrics.show_model(bench.first)
    bench.promote("v1", bias=0.25)
    bench.watcher.poll()
    bench.watcher.poll()
    (model,) = bench.offered
    assert (model.version, bench.watcher.version) == ("v1", "v1")
    assert model.tokenizer is bench.first.tokenizer
    assert joint(model).score_texts([joint(model).probe])[0, 0] == pytest.approx(0.25)
    assert bench.shown("sway_model_swaps_total") == 1
    assert bench.shown("sway_model_swap_seconds_count") == 1
    assert bench.shown('sway_model{device="cpu",dtype="fp32",version="v1"}') == 1
    assert bench.metrics.render().decode().count("\nsway_model{") == 1


def test_changed_text_settings_or_tokenizers_are_not_shared(bench: ChampionBench) -> None:
    text = TextSettings()
    bench.publish("short", settings=NetworkSettings(text=replace(text, max_tokens=text.max_tokens - 1)))

    def respell(folder: Path) -> None:
        path = folder / "tokenizer.json"
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")

    bench.publish("respelt", change=respell)
    for version in ("short", "respelt"):
        bench.registry.promote(version)
        bench.watcher.poll()
    short, respelt = bench.offered
    assert short.tokenizer is not bench.first.tokenizer
    assert short.tokenizer.settings.max_tokens == text.max_tokens - 1
    assert respelt.tokenizer is not short.tokenizer


# --- storage that fails ---------------------------------------------------------------------------------


class FailingRegistry(ModelRegistry):
    """Registry that raises the given errors when it is listed or when a version is fetched."""

    listing_error: Exception | None = None
    fetch_error: Exception | None = None
    fetches = 0

    def promotions(self) -> list[int]:
        if self.listing_error is not None:
            raise self.listing_error
        return super().promotions()

    def fetch(self, version: str, folder: Path) -> Path:
        self.fetches += 1
        if self.fetch_error is not None:
            raise self.fetch_error
        return super().fetch(version, folder)


@pytest.fixture
def failing(bench: ChampionBench) -> FailingRegistry:
    registry = FailingRegistry(bench.path)
    bench.registry = registry
    bench.watcher = bench.watch(bench.offered.append)
    return registry


def test_an_unavailable_registry_is_an_alarm_but_no_refusal(
    bench: ChampionBench, failing: FailingRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    failing.listing_error = ConnectionRefusedError("connection refused")
    for _ in range(3):
        bench.watcher.poll()
    assert bench.shown("sway_champion_alarm") == 1
    assert "sway_champion_refused_total{" not in bench.metrics.render().decode()
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    failing.listing_error = None
    bench.watcher.poll()
    assert bench.shown("sway_champion_alarm") == 0


def test_an_emptied_registry_is_an_alarm(bench: ChampionBench) -> None:
    shutil.rmtree(bench.path)
    bench.watcher.poll()
    assert bench.shown("sway_champion_alarm") == 1
    assert bench.shown('sway_champion_refused_total{reason="missing"}') == 1


def test_a_failed_fetch_is_retried_with_growing_pauses(
    bench: ChampionBench, failing: FailingRegistry
) -> None:
    bench.promote("v1")
    failing.fetch_error = TimeoutError("the storage does not answer")
    # A poll every 2 s for 30 s: tries at 0, 2, 6, 14 and 30 s.
    for _ in range(16):
        bench.watcher.poll()
        bench.now_s += 2
    assert failing.fetches == 5
    assert "sway_champion_refused_total{" not in bench.metrics.render().decode()
    failing.fetch_error = None
    bench.now_s += 60
    bench.watcher.poll()
    assert [model.version for model in bench.offered] == ["v1"]


def test_a_storage_error_differs_from_a_broken_promotion() -> None:
    unavailable, broken = ModelCorrupt("promotion cannot be read"), ModelCorrupt("promotion cannot be read")
    unavailable.__cause__, broken.__cause__ = PermissionError("no token"), ValueError("not JSON")
    assert (reason_of(unavailable), reason_of(broken)) == ("storage", "corrupt")
    assert reason_of(torch.OutOfMemoryError("full")) == "memory"
    assert reason_of(KeyError("a bug")) == "failed"


def test_a_model_loaded_during_shutdown_is_not_offered(bench: ChampionBench) -> None:
    bench.promote("v1")
    bench.watcher.stop()
    bench.watcher.poll()
    assert bench.offered == []
