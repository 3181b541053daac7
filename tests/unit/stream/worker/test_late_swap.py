"""A late champion replaces a joint or a late one, and takes over the text vectors of the latter."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.late_model import LateModel
from model.loaded import LoadedModel
from model.loading import Model
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer
from stream.assembly import load_champion
from stream.settings import ModelSettings, Settings
from stream.worker.champion import ChampionWatcher
from stream.worker.metrics import WorkerMetrics
from tests.support import tiny
from tests.support.late import late_text, publish_late

CPU = torch.device("cpu")
WORDS = ("watch heat 1995", "watch alien 1979", "watch big 1988")


class Bench:
    """A registry with a joint version and two late ones."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.path = folder / "registry"
        self.registry = ModelRegistry(self.path)
        tiny.publish_tiny(self.registry, "joint", base, folder / "joint", seed=1)
        for seed, version in enumerate(("late", "later")):
            publish_late(self.registry, version, base, folder / version, seed=seed)
        self.offered: list[Model] = []

    def load(self, version: str, tokenizer: BehaviourTokenizer | None = None) -> Model:
        return self.registry.load(version, device=CPU, dtype="fp32", tokenizer=tokenizer)

    def watch(
        self, current: Model, load: Callable[[str, BehaviourTokenizer], Model] | None = None
    ) -> ChampionWatcher:
        return ChampionWatcher(
            self.registry,
            current,
            load or self.load,
            self.offered.append,
            WorkerMetrics(),
            poll_interval_s=1.0,
        )


@pytest.fixture
def bench(tiny_base: Path, tmp_path: Path) -> Bench:
    return Bench(tiny_base, tmp_path)


def score_three_texts(model: LateModel) -> None:
    pieces = model.tokenizer.words(WORDS)
    model.score_texts([late_text(pieces[0], "a", [(pieces[1], "b", 1.0), (pieces[2], "c", 0.0)])])


def test_a_late_champion_reuses_the_texts_of_its_predecessor(bench: Bench) -> None:
    current = bench.load("late")
    assert isinstance(current, LateModel)
    score_three_texts(current)
    watcher = bench.watch(current)
    bench.registry.promote("later")
    watcher.poll()
    (model,) = bench.offered
    assert isinstance(model, LateModel)
    assert (model.version, watcher.version) == ("later", "later")
    before = model.vectors.misses
    score_three_texts(model)
    assert model.vectors.misses == before


def test_the_champion_may_change_its_reading_back_and_forth(bench: Bench) -> None:
    watcher = bench.watch(bench.load("joint"))
    for version in ("late", "joint", "later"):
        bench.registry.promote(version)
        watcher.poll()
    assert [type(model) for model in bench.offered] == [LateModel, LoadedModel, LateModel]
    assert [model.version for model in bench.offered] == ["late", "joint", "later"]
    assert len({id(model.tokenizer) for model in bench.offered}) == 1


def test_a_worker_starts_with_a_late_champion(bench: Bench) -> None:
    bench.registry.promote("late")
    settings = Settings(model=ModelSettings(registry=str(bench.path), device="cpu", cached_vectors=9))
    model = load_champion(settings)
    assert isinstance(model, LateModel)
    assert model.vectors.capacity == 9
    # The model is warmed up.
    assert len(model.vectors) > 0


def test_metrics_show_how_many_vectors_a_late_model_keeps(bench: Bench) -> None:
    metrics = WorkerMetrics()
    model = bench.load("late")
    assert isinstance(model, LateModel)
    score_three_texts(model)
    score_three_texts(model)
    metrics.show_model(model)
    shown = metrics.render().decode()
    assert "\nsway_text_vectors 3.0\n" in shown
    assert 'sway_text_vectors_asked{found="yes"} 3.0' in shown
    assert 'sway_text_vectors_asked{found="no"} 3.0' in shown
    metrics.show_model(bench.load("joint"))
    shown = metrics.render().decode()
    assert "\nsway_text_vectors 0.0\n" in shown
    assert "sway_text_vectors_asked{" not in shown
