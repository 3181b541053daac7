from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.loading import joint
from model.network import NetworkSettings
from model.registry import ModelRegistry
from model.text import TextSettings
from trainer.dataset import Example
from trainer.finetune import FinetuneConfig
from trainer.first_model import FirstModelConfig, Progress, StageConfig, fit_first_model, version_of

CONFIG = FirstModelConfig(
    base_name="tiny",
    network=NetworkSettings(lam=0.5, text=TextSettings(max_tokens=96)),
    targets=StageConfig(6, FinetuneConfig(epochs=2, batch_rows=2)),
    texts=StageConfig(1, FinetuneConfig(epochs=1, batch_rows=8)),
)
EXAMPLES = [
    Example(
        f"watch film {n % 5} liked ; watch film {n % 3} disliked",
        "watch a delight" if n % 2 else "watch a waste",
        float(n % 2),
        None if n % 7 == 0 else n % 2 / 1,
        1000 + n,
    )
    for n in range(60)
]


def test_a_fitted_model_is_in_the_registry_and_scores(tiny_base: Path, tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    seen: list[Progress] = []
    version = fit_first_model(EXAMPLES, tiny_base, registry, config=CONFIG, progress=seen.append)
    model = joint(registry.load(version, device=torch.device("cpu")))
    good, bad = model.tokenizer.words(["watch a delight", "watch a waste"])
    scores = model.score_texts([model.tokenizer.encode((), good), model.tokenizer.encode((), bad)])
    assert scores[0, 0] > scores[1, 0]
    manifest = registry.manifest(version)
    assert (manifest.parent, manifest.base, manifest.data["examples"]) == (None, "tiny", 60)
    assert manifest.metrics["heads_auc_held_out"] == 1.0
    assert manifest.metrics["seconds"] > 0
    assert manifest.config["texts"]["trained_layers"] == 1
    assert registry.champion() is None
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages == ["targets", "heads", "targets: fine-tuning", "texts", "texts: fine-tuning", "publish"]


def test_a_repeated_call_finds_its_own_work(tiny_base: Path, tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    version = fit_first_model(EXAMPLES, tiny_base, registry, config=CONFIG)
    seen: list[Progress] = []
    assert fit_first_model(EXAMPLES, tiny_base, registry, config=CONFIG, progress=seen.append) == version
    assert seen == [Progress("found", 1, 1)]


def test_the_same_inputs_make_the_same_weights(tiny_base: Path, tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        registry = ModelRegistry(tmp_path / name)
        version = fit_first_model(EXAMPLES, tiny_base, registry, config=CONFIG, seed=5)
        hashes.append(registry.manifest(version).files)
    assert hashes[0] == hashes[1]


def test_the_id_depends_on_data_configuration_and_seed(tiny_base: Path) -> None:
    first = version_of(EXAMPLES, tiny_base, CONFIG, 0)
    assert first == version_of(EXAMPLES, tiny_base, CONFIG, 0)
    others = [
        version_of(EXAMPLES[:-1], tiny_base, CONFIG, 0),
        version_of([*EXAMPLES[:-1], replace(EXAMPLES[-1], y=0.5)], tiny_base, CONFIG, 0),
        version_of(EXAMPLES, tiny_base, replace(CONFIG, newest_texts=9), 0),
        version_of(EXAMPLES, tiny_base, CONFIG, 1),
    ]
    assert len({first, *others}) == 5
    assert first.startswith("first-")


def test_too_few_examples_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 examples"):
        fit_first_model(EXAMPLES[:1], tiny_base, ModelRegistry(tmp_path), config=CONFIG)
