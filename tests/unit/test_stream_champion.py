"""A new champion is offered when it is known to work; whatever else comes, the old one serves and an alarm stands."""

import gc
import logging
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedModel, T5Config, T5Model

from model import checkpoint
from model.errors import ModelCorrupt
from model.loaded import LoadedModel
from model.loading import Model, joint
from model.manifest import Manifest
from model.network import NetworkSettings
from model.packing import PackingSettings
from model.registry import ModelRegistry
from model.scorer import MicroBatcher
from model.text import TextSettings
from model.tokens import BehaviourTokenizer, EncodedText
from stream.worker.champion import ChampionWatcher, reason_of
from stream.worker.metrics import WorkerMetrics

CPU = torch.device("cpu")


class ChampionBench:
    """A registry, a watcher of it with a controlled clock, and the models that the watcher offered."""

    def __init__(self, tmp_path: Path, base: Path) -> None:
        self.base = base
        self.path = tmp_path / "registry"
        self.registry = ModelRegistry(self.path)
        self.folder = tmp_path / "made"
        self.metrics = WorkerMetrics()
        self.offered: list[Model] = []
        self.now_s = 100.0
        self.promote("v0")
        self.first = self.load("v0", None)
        self.watcher = self.watch(self.offered.append)

    def watch(self, offer: Callable[[Model], None], poll_interval_s: float = 2.0) -> ChampionWatcher:
        return ChampionWatcher(
            self.registry,
            self.first,
            self.load,
            offer,
            self.metrics,
            poll_interval_s=poll_interval_s,
            retry_pause_s=60,
            clock=lambda: self.now_s,
        )

    def load(self, version: str, tokenizer: BehaviourTokenizer | None) -> LoadedModel:
        return joint(self.registry.load(version, device=CPU, dtype="fp32", tokenizer=tokenizer))

    def publish(
        self,
        version: str,
        *,
        bias: float = 0.5,
        settings: NetworkSettings | None = None,
        change: Callable[[Path], object] = lambda _folder: None,
    ) -> Path:
        """Publish a version of the tiny network; return its folder in the registry."""
        network = checkpoint.from_base(self.base, settings or NetworkSettings())
        with torch.no_grad():
            network.heads.bias.fill_(bias)
        folder = self.folder / version
        checkpoint.save(network, folder, tokenizer_from=self.base)
        change(folder)
        self.registry.publish(folder, Manifest(version, base="tiny", created_at_ms=0))
        return self.path / "versions" / version

    def promote(self, version: str, *, bias: float = 0.5) -> int:
        """Publish a good version and make it the champion."""
        self.publish(version, bias=bias)
        return self.registry.promote(version)

    def shown(self, name: str) -> float:
        """Return the value of a metric by its name and labels; 0 while it is missing."""
        lines = self.metrics.render().decode().splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), 0)


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


# --- what is refused ------------------------------------------------------------------------------------


def missing_version(bench: ChampionBench) -> str:
    shutil.rmtree(bench.publish("bad"))
    return "missing"


def missing_file(bench: ChampionBench) -> str:
    (bench.publish("bad") / "heads.safetensors").unlink()
    return "corrupt"


def truncated_weights(bench: ChampionBench) -> str:
    path = bench.publish("bad") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return "corrupt"


def altered_weights(bench: ChampionBench) -> str:
    path = bench.publish("bad") / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return "corrupt"


def truncated_manifest(bench: ChampionBench) -> str:
    path = bench.publish("bad") / "manifest.json"
    path.write_text(path.read_text()[:50])
    return "corrupt"


def encoder_decoder(bench: ChampionBench) -> str:
    config = T5Config(vocab_size=30_522, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    bench.publish("bad", change=lambda folder: replace_encoder(folder, T5Model(config)))
    return "incompatible"


def weights_of_another_shape(bench: ChampionBench) -> str:
    config = BertConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    bench.publish("bad", change=lambda folder: replace_encoder(folder, bert(config)))
    return "incompatible"


def missing_settings(bench: ChampionBench) -> str:
    bench.publish("bad", change=lambda folder: (folder / "sway.json").unlink())
    return "incompatible"


def too_many_token_ids(bench: ChampionBench) -> str:
    config = BertConfig(
        vocab_size=999, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    bench.publish("bad", change=lambda folder: replace_encoder(folder, bert(config)))
    return "incompatible"


def missing_tokenizer(bench: ChampionBench) -> str:
    bench.publish("bad", change=lambda folder: (folder / "tokenizer.json").unlink())
    return "tokenizer"


def truncated_tokenizer(bench: ChampionBench) -> str:
    bench.publish("bad", change=lambda folder: (folder / "tokenizer.json").write_text('{"version": "1.0"'))
    return "tokenizer"


def nan_weights(bench: ChampionBench) -> str:
    bench.publish("bad", bias=float("nan"))
    return "not_finite"


def infinite_weights(bench: ChampionBench) -> str:
    bench.publish("bad", bias=float("inf"))
    return "not_finite"


def bert(config: BertConfig) -> PreTrainedModel:
    return BertModel(config)  # type: ignore[no-untyped-call]


def replace_encoder(folder: Path, encoder: PreTrainedModel) -> None:
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
    encoder.save_pretrained(folder, safe_serialization=True)


BAD = [
    missing_version,
    missing_file,
    truncated_weights,
    altered_weights,
    truncated_manifest,
    encoder_decoder,
    weights_of_another_shape,
    missing_settings,
    too_many_token_ids,
    missing_tokenizer,
    truncated_tokenizer,
    nan_weights,
    infinite_weights,
]


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_a_bad_champion_raises_an_alarm_until_replaced(
    bench: ChampionBench, spoil: Callable[[ChampionBench], str], caplog: pytest.LogCaptureFixture
) -> None:
    reason = spoil(bench)
    number = bench.registry.promotions()[-1] + 1
    promotion = bench.path / "promotions" / f"{number:06d}.json"
    # promote() would refuse some of the versions.
    promotion.write_text('{"version": "bad", "promoted_at_ms": 0}')
    for _ in range(3):
        bench.watcher.poll()
        bench.now_s += 61
    assert bench.offered == []
    assert bench.watcher.version == "v0"
    assert bench.shown(f'sway_champion_refused_total{{reason="{reason}"}}') == 1
    assert bench.shown("sway_champion_alarm") == 1
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert f"Promotion {number} cannot be followed ({reason}); model v0 stays in use" in line
    bench.promote("good")
    bench.watcher.poll()
    assert [model.version for model in bench.offered] == ["good"]
    assert bench.shown("sway_champion_alarm") == 0


def test_a_refused_champion_is_retried_after_a_longer_pause(bench: ChampionBench) -> None:
    path = bench.publish("v1") / "heads.safetensors"
    content = path.read_bytes()
    path.write_bytes(b"")
    bench.registry.promote("v1")
    bench.watcher.poll()
    path.write_bytes(content)  # repaired under the same promotion
    bench.now_s += 59
    bench.watcher.poll()
    assert bench.offered == []
    bench.now_s += 2
    bench.watcher.poll()
    assert [model.version for model in bench.offered] == ["v1"]


def test_rolling_back_to_the_serving_version_ends_the_alarm(bench: ChampionBench) -> None:
    nan_weights(bench)
    bench.registry.promote("bad")
    bench.watcher.poll()
    assert bench.shown("sway_champion_alarm") == 1
    bench.registry.promote("v0")
    bench.watcher.poll()
    assert bench.shown("sway_champion_alarm") == 0
    assert bench.offered == []


def test_a_promotion_that_cannot_be_parsed_is_refused(bench: ChampionBench) -> None:
    (bench.path / "promotions" / "000002.json").write_text("{")
    bench.watcher.poll()
    assert bench.shown('sway_champion_refused_total{reason="corrupt"}') == 1


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
    failing.listing_error = ConnectionRefusedError("nobody listens")
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


# --- many swaps while texts are scored ------------------------------------------------------------------


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """Turn the garbage collector off: in a worker, which rarely collects, models must be freed by their references."""
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
