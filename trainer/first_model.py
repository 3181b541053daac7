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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model import checkpoint
from model.device import choose_device
from model.hashing import sha256_of
from model.manifest import Manifest
from model.network import NetworkSettings
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer, EncodedText
from trainer.augment import drop_histories
from trainer.dataset import Example, labels
from trainer.finetune import FinetuneConfig, FinetuneResult, finetune_top
from trainer.heads import Heads, choose_penalty, fit_heads
from trainer.layers import Activations, frozen_activations, layer_list
from trainer.targets import distinct_targets

RECIPE = 1  # part of a version's id: raise it when the same data and configuration give another model


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One stage of fine-tuning: the top so many layers, and how."""

    trained_layers: int
    finetune: FinetuneConfig


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


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fit has come.

    stage: targets, heads, targets: fine-tuning, texts, texts: fine-tuning, publish; or found, at once.
    """

    stage: str
    done: int
    total: int


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
    fit = _Fit(base_dir, config, seed, progress)
    metrics = {**fit.targets(ordered), **fit.texts(ordered)}
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
        checkpoint.save(fit.network, folder, tokenizer_from=base_dir)
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


class _Fit:
    """A network on its way through the two stages."""

    def __init__(
        self, base_dir: Path, config: FirstModelConfig, seed: int, progress: Callable[[Progress], None]
    ) -> None:
        torch.manual_seed(seed)
        self.network = checkpoint.from_base(base_dir, config.network, layers=config.kept_layers)
        self.network.place(choose_device(), torch.float32)
        self._tokenizer = BehaviourTokenizer.from_folder(base_dir, config.network.text)
        self._config = config
        self._seed = seed
        self._progress = progress

    def targets(self, ordered: Sequence[Example]) -> dict[str, float]:
        """Learn from the distinct targets alone; return what was measured.

        ordered: in the order of time: the newest fifth judges the heads and chooses their penalty.
        """
        distinct = distinct_targets(ordered)
        texts = self._tokenizer.encode_texts([("", target) for target in distinct.targets])
        activations = self._activations("targets", texts, self._config.targets)
        wanted = labels(ordered)
        features = activations.features[distinct.of_example]  # (N, d)
        penalty, held_out_auc = choose_penalty(features, wanted)
        self._set_heads(fit_heads(features, wanted, penalty))
        self._progress(Progress("heads", 1, 1))
        result = self._finetune(
            "targets", activations, distinct.labels, self._config.targets, weights=distinct.counts
        )
        judged = {} if np.isnan(held_out_auc) else {"heads_auc_held_out": held_out_auc}
        return {"heads_penalty": penalty, "targets_loss": result.loss, **judged}

    def texts(self, ordered: Sequence[Example]) -> dict[str, float]:
        """Learn from the newest whole texts; return what was measured."""
        newest = ordered[-self._config.newest_texts :] if self._config.newest_texts else ordered
        shown = drop_histories(newest, self._config.histories_dropped, self._seed)
        texts = self._tokenizer.encode_texts([(example.history, example.target) for example in shown])
        activations = self._activations("texts", texts, self._config.texts)
        result = self._finetune("texts", activations, labels(shown), self._config.texts)
        return {"texts_loss": result.loss}

    def _activations(self, name: str, texts: Sequence[EncodedText], stage: StageConfig) -> Activations:
        return frozen_activations(
            self.network,
            texts,
            min(stage.trained_layers, len(layer_list(self.network.encoder))),
            pad_id=int(self.network.encoder.config.pad_token_id or 0),
            progress=lambda done: self._progress(Progress(name, done, len(texts))),
        )

    def _finetune(
        self,
        name: str,
        activations: Activations,
        wanted: NDArray[np.float32],
        stage: StageConfig,
        weights: NDArray[np.float32] | None = None,
    ) -> FinetuneResult:
        return finetune_top(
            self.network,
            activations,
            wanted,
            min(stage.trained_layers, len(layer_list(self.network.encoder))),
            replace(stage.finetune, seed=self._seed),
            weights=weights,
            progress=lambda step, steps: self._progress(Progress(f"{name}: fine-tuning", step, steps)),
        )

    def _set_heads(self, heads: Heads) -> None:
        with torch.no_grad():
            self.network.heads.weight.copy_(torch.from_numpy(heads.weight))
            self.network.heads.bias.copy_(torch.from_numpy(heads.bias))


def _plain(config: FirstModelConfig) -> dict[str, Any]:
    """Return the configuration as JSON has it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain
