"""Swaps of the champion while texts are scored: no leak, no gap, and no mixed answers."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from model.loaded import LoadedModel
from model.loading import Model
from model.packing import PackingSettings
from model.scorer import MicroBatcher
from model.tokens import EncodedText
from tests.unit.stream.worker.champion_bench import ChampionBench


@pytest.fixture
def bench(tmp_path: Path, tiny_base: Path) -> ChampionBench:
    return ChampionBench(tmp_path, tiny_base)


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """Disable the garbage collector. A worker rarely collects, so models must be freed by reference counting."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_fifty_swaps_neither_leak_memory_nor_block_scoring(
    bench: ChampionBench, no_garbage_collection: None
) -> None:
    versions = [f"v{number}" for number in range(1, 6)]
    for number, version in enumerate(versions, start=1):
        bench.publish(version, bias=float(number))
    first: list[LoadedModel] = [bench.first]
    texts = [bench.first.probe] * 4
    alive: list[weakref.ref[Model]] = []
    rss: list[int] = []
    with MicroBatcher(bench.first, PackingSettings(max_wait_s=0.0)) as batcher:

        def take(model: Model) -> None:
            alive.append(weakref.ref(model))
            batcher.use(model)

        bench.watcher = bench.watch(take)
        first.clear()
        del bench.first
        scoring = Scoring(batcher, texts)
        scoring.start()
        for swap in range(50):
            version = versions[swap % 5]
            bench.registry.promote(version)
            bench.watcher.poll()
            scoring.wait_for_version(version)
            assert sum(model() is not None for model in alive) <= 2
            if swap in (9, 49):
                rss.append(psutil.Process().memory_info().rss)
        scoring.stop()
    assert len(alive) == 50
    weights = sum(path.stat().st_size for path in (bench.path / "versions" / "v1").glob("*.safetensors"))
    # A leak of all models would take forty times their weights.
    assert rss[1] - rss[0] < 2 * weights
    # Every group was scored, and by the one version that it names.
    assert scoring.groups == scoring.answered > 100
    assert scoring.mixed == 0


class Scoring(threading.Thread):
    """Thread that submits groups of texts and compares each answer with the version that it names."""

    def __init__(self, batcher: MicroBatcher, texts: list[EncodedText]) -> None:
        super().__init__(daemon=True)
        self._batcher = batcher
        self._texts = texts
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._newest = ""
        self.groups = self.answered = self.mixed = 0

    def run(self) -> None:
        while not self._stopping.is_set():
            self.groups += 1
            scored = self._batcher.submit(self._texts).result(30)
            bias = 0.5 if scored.model_version == "v0" else float(scored.model_version[1:])
            self.answered += not scored.failed
            self.mixed += not bool((abs(scored.y_hat - bias) < 1e-3).all())
            with self._changed:
                self._newest = scored.model_version
                self._changed.notify_all()

    def wait_for_version(self, version: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._newest == version, 30), f"{version} never scored"

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)


def test_the_old_model_is_freed_without_further_texts(
    bench: ChampionBench, no_garbage_collection: None
) -> None:
    bench.promote("v1")
    with MicroBatcher(bench.first, PackingSettings(max_wait_s=0.0)) as batcher:
        batcher.submit([bench.first.probe]).result(30)
        bench.watcher = bench.watch(batcher.use)
        bench.watcher.poll()
        old = weakref.ref(bench.first)
        del bench.first
        wait_until_freed(old)
        assert batcher.model.version == "v1"


def test_the_watcher_thread_finds_a_new_champion(bench: ChampionBench) -> None:
    found = threading.Event()
    watcher = bench.watch(lambda _model: found.set(), poll_interval_s=0.01)
    watcher.start()
    bench.promote("v1")
    assert found.wait(30)
    watcher.stop()


def wait_until_freed(reference: "weakref.ref[LoadedModel]") -> None:
    """Wait until the object is freed. The thread of its last batch may still hold it."""
    deadline = time.monotonic() + 10
    while reference() is not None:
        assert time.monotonic() < deadline, "the old model is still referenced"
        time.sleep(0.01)
