"""The first model, fitted from a base model and published."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model import checkpoint
from model.loading import joint
from model.reading import Reading
from model.registry import ModelRegistry
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from tests.support.late_examples import audience
from trainer.config import LateTraining, TargetStage
from trainer.dataset import Example
from trainer.errors import TrainingRefused
from trainer.first_model import fit_first_model, joint_config, late_config, version_of
from trainer.progress import Progress

TEXT = TextSettings(max_tokens=96)
CONFIG = replace(
    joint_config(TEXT), targets=TargetStage(epochs=2, batch_rows=2), trained_layers=1, batch_rows=8
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


def test_a_first_model_is_published_and_scores(plain_base: Path, tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    seen: list[Progress] = []
    version = fit_first_model(
        EXAMPLES, plain_base, registry, config=CONFIG, base_name="tiny", progress=seen.append
    )
    model = joint(registry.load(version, device=torch.device("cpu")))
    good, bad = model.tokenizer.words(["watch a delight", "watch a waste"])
    scores = model.score_texts([model.tokenizer.encode((), good), model.tokenizer.encode((), bad)])
    assert scores[0, 0] > scores[1, 0]
    manifest = registry.manifest(version)
    assert (manifest.parent, manifest.base, manifest.data["examples"]) == (None, "tiny", 60)
    assert manifest.metrics["heads_auc_held_out"] == 1.0
    assert manifest.metrics["seconds"] > 0
    assert manifest.config["trained_layers"] == 1
    assert registry.champion() is None
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages == ["targets", "heads", "targets: fine-tuning", "texts", "texts: fine-tuning", "publish"]


def test_the_first_model_of_examples_with_snapshots_is_late(
    plain_base: Path, tmp_path: Path, tokenizer: BehaviourTokenizer
) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    late = LateTraining(numbers_epochs=1, epochs=1, width=8, heads=2, tower=16)
    config = replace(late_config(TEXT), late=late, threads=1)
    version = fit_first_model(audience(300, tokenizer), plain_base, registry, config=config)
    assert checkpoint.reading_of(registry.fetch(version, tmp_path / "fetched")) is Reading.LATE
    assert registry.manifest(version).data["to_ms"] == 10**12 + 299 * 60_000


def test_a_repeated_call_finds_its_own_version(plain_base: Path, tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    version = fit_first_model(EXAMPLES, plain_base, registry, config=CONFIG)
    seen: list[Progress] = []
    assert fit_first_model(EXAMPLES, plain_base, registry, config=CONFIG, progress=seen.append) == version
    assert seen == [Progress("found", 1, 1)]


def test_the_same_inputs_make_the_same_weights(plain_base: Path, tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        registry = ModelRegistry(tmp_path / name)
        version = fit_first_model(EXAMPLES, plain_base, registry, config=replace(CONFIG, seed=5))
        hashes.append(registry.manifest(version).files)
    assert hashes[0] == hashes[1]


def test_the_id_depends_on_data_configuration_and_seed(plain_base: Path) -> None:
    first = version_of(EXAMPLES, plain_base, CONFIG)
    assert first == version_of(EXAMPLES, plain_base, CONFIG)
    others = [
        version_of(EXAMPLES[:-1], plain_base, CONFIG),
        version_of([*EXAMPLES[:-1], replace(EXAMPLES[-1], y=0.5)], plain_base, CONFIG),
        version_of([*EXAMPLES[:-1], replace(EXAMPLES[-1], snapshot=b"s")], plain_base, CONFIG),
        version_of(EXAMPLES, plain_base, replace(CONFIG, newest_texts=9)),
        version_of(EXAMPLES, plain_base, replace(CONFIG, seed=1)),
    ]
    assert len({first, *others}) == 6
    assert first.startswith("first-")


def test_too_few_examples_are_refused(plain_base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingRefused, match="1 examples"):
        fit_first_model(EXAMPLES[:1], plain_base, ModelRegistry(tmp_path), config=CONFIG)
