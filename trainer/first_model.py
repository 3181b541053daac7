"""The first model: from a pre-trained checkpoint and labelled examples to a version in the registry.

Two stages, each on activations that its frozen layers are asked for once:

    targets   the distinct targets without history, weighted by how often they occur: what an item is worth.
              Heads in closed form on frozen features, then layers fine-tuned from there (LP-FT).
    texts     whole texts, the newest, some without their history: what the user makes of it. The top layers.

Source: DESIGN sections 8 and 9.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from model import checkpoint
from model.device import choose_device
from model.hashing import sha256_of
from model.manifest import Manifest
from model.network import NetworkSettings
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer
from trainer.augment import Augmentation
from trainer.dataset import Example
from trainer.finetune import FinetuneConfig
from trainer.progress import Progress
from trainer.stages import StageConfig, Stages

__all__ = ["FirstModelConfig", "Progress", "StageConfig", "fit_first_model", "version_of"]

RECIPE = 2  # part of a version's id: raise it when the same data and configuration give another model


@dataclass(frozen=True, slots=True)
class FirstModelConfig:
    """How the first model is made; the defaults fit a demo on two cores without a GPU.

    base_name: for the manifest. network: pooling, lambda and text. kept_layers: of the base, the lowest;
    None keeps all. targets, texts: the two stages.
    newest_texts: how many examples, the newest, the second stage sees; None for all.
    histories_dropped: the share of those that go without their history.
    """

    base_name: str = "all-MiniLM-L6-v2"
    network: NetworkSettings = field(default_factory=NetworkSettings)
    kept_layers: int | None = None
    targets: StageConfig = field(
        default_factory=lambda: StageConfig(6, FinetuneConfig(epochs=5, batch_rows=32, learning_rate=1e-4))
    )
    texts: StageConfig = field(
        default_factory=lambda: StageConfig(2, FinetuneConfig(epochs=1, batch_rows=16, learning_rate=1e-4))
    )
    newest_texts: int | None = 6000
    histories_dropped: float = 0.5


def fit_first_model(
    examples: Sequence[Example],
    base_dir: Path,
    registry: ModelRegistry,
    *,
    config: FirstModelConfig | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> str:
    """Fit the first model and publish it; return its version. It is not promoted.

    examples: at least two, in any order. base_dir: a Hugging Face checkpoint in safetensors.
    The version's id is a hash of data, base, configuration and seed: a repeated call finds its own work in
    the registry and returns at once.
    Raises ValueError if there are too few examples; ModelIncompatible if the base is no such checkpoint.
    """
    if len(examples) < 2:
        raise ValueError(f"{len(examples)} examples are too few to fit a model")
    config = config or FirstModelConfig()
    version = version_of(examples, base_dir, config, seed)
    if registry.exists(version):
        progress(Progress("found", 1, 1))
        return version
    ordered = sorted(examples, key=lambda example: example.occurred_at)
    began_s = time.monotonic()
    torch.manual_seed(seed)
    network = checkpoint.from_base(base_dir, config.network, layers=config.kept_layers)
    network.place(choose_device(), torch.float32)
    tokenizer = BehaviourTokenizer.from_folder(base_dir, config.network.text)
    stages = Stages(network, tokenizer, seed=seed, progress=progress)
    newest = ordered[-config.newest_texts :] if config.newest_texts else ordered
    dropping = Augmentation(histories_dropped=config.histories_dropped)
    targets = stages.targets(ordered, config.targets)
    texts = stages.texts(newest, config.texts, augmentation=dropping)
    metrics = {**targets.metrics, **texts.metrics}
    metrics["seconds"] = time.monotonic() - began_s
    manifest = Manifest(
        version=version,
        base=config.base_name,
        created_at_ms=int(time.time() * 1000),
        data={
            "examples": len(ordered),
            "from_ms": ordered[0].occurred_at,
            "to_ms": ordered[-1].occurred_at,
        },
        metrics=metrics,
        config={"seed": seed, **_plain(config)},
    )
    progress(Progress("publish", 0, 1))
    with tempfile.TemporaryDirectory(prefix="sway-first-model-") as scratch:
        folder = Path(scratch) / version
        checkpoint.save(network, folder, tokenizer_from=base_dir)
        registry.publish(folder, manifest)
    progress(Progress("publish", 1, 1))
    return version


def version_of(examples: Sequence[Example], base_dir: Path, config: FirstModelConfig, seed: int) -> str:
    """Return the id of the version that these inputs make: `first-` and 12 hexadecimal digits."""
    digest = hashlib.sha256()
    digest.update(json.dumps({"recipe": RECIPE, "seed": seed, **_plain(config)}, sort_keys=True).encode())
    digest.update(sha256_of(base_dir / "model.safetensors").encode())
    for example in examples:
        row = (example.history, example.target, example.y, example.z, example.occurred_at)
        digest.update(json.dumps(row).encode())
    return f"first-{digest.hexdigest()[:12]}"


def _plain(config: FirstModelConfig) -> dict[str, Any]:
    """Return the configuration as JSON has it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain
