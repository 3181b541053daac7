"""The first model: from a pre-trained checkpoint and labelled examples to a version in the registry.

Heads in closed form on frozen features, then the top layers fine-tuned from there (LP-FT), on activations
that the frozen layers below are asked for once.

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
from model.network import NetworkSettings, TwoHeadedNetwork
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer, EncodedText
from trainer.dataset import Example, labels
from trainer.finetune import FinetuneConfig, finetune_top
from trainer.heads import choose_penalty, fit_heads
from trainer.layers import frozen_activations
from trainer.metrics import auc

RECIPE = 1  # part of a version's id: raise it when the same data and configuration give another model


@dataclass(frozen=True, slots=True)
class FirstModelConfig:
    """How the first model is made; the defaults fit a demo on two cores without a GPU.

    base_name: for the manifest. network: pooling, lambda and text. kept_layers: of the base, the lowest;
    None keeps all. trained_layers: the top so many of those.
    training_tokens: longest text to train on, None for the model's own max_tokens; the oldest behaviours
    are left out.
    """

    base_name: str = "all-MiniLM-L6-v2"
    network: NetworkSettings = field(default_factory=NetworkSettings)
    kept_layers: int | None = None
    trained_layers: int = 2
    training_tokens: int | None = 64
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fit has come. stage: activations, heads, finetune, publish or found."""

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
    config = replace(config, finetune=replace(config.finetune, seed=seed))
    version = version_of(examples, base_dir, config)
    if registry.exists(version):
        progress(Progress("found", 1, 1))
        return version
    ordered = sorted(examples, key=lambda example: example.occurred_at)
    began_s = time.monotonic()
    network, metrics = _fit(ordered, base_dir, config, progress)
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
        config=_plain(config),
    )
    progress(Progress("publish", 0, 1))
    with tempfile.TemporaryDirectory(prefix="sway-first-model-") as scratch:
        folder = Path(scratch) / version
        checkpoint.save(network, folder, tokenizer_from=base_dir)
        registry.publish(folder, manifest)
    progress(Progress("publish", 1, 1))
    return version


def version_of(examples: Sequence[Example], base_dir: Path, config: FirstModelConfig) -> str:
    """Return the id of the version that these inputs make: `first-` and 12 hexadecimal digits."""
    digest = hashlib.sha256()
    digest.update(json.dumps({"recipe": RECIPE, **_plain(config)}, sort_keys=True).encode())
    digest.update(sha256_of(base_dir / "model.safetensors").encode())
    for example in examples:
        row = (example.history, example.target, example.y, example.z, example.occurred_at)
        digest.update(json.dumps(row).encode())
    return f"first-{digest.hexdigest()[:12]}"


def _fit(
    ordered: Sequence[Example],
    base_dir: Path,
    config: FirstModelConfig,
    progress: Callable[[Progress], None],
) -> tuple[TwoHeadedNetwork, dict[str, float]]:
    """Fit on examples in the order of time; return the network, on the CPU, and what was measured."""
    torch.manual_seed(config.finetune.seed)
    network = checkpoint.from_base(base_dir, config.network, layers=config.kept_layers)
    network.place(choose_device(), torch.float32)
    texts = _encode(ordered, base_dir, config)
    wanted = labels(ordered)
    activations = frozen_activations(
        network,
        texts,
        config.trained_layers,
        pad_id=int(network.encoder.config.pad_token_id or 0),
        progress=lambda done: progress(Progress("activations", done, len(texts))),
    )
    progress(Progress("heads", 0, 1))
    metrics = _set_heads(network, activations.features, wanted)
    progress(Progress("heads", 1, 1))
    result = finetune_top(
        network,
        activations,
        wanted,
        config.trained_layers,
        config.finetune,
        progress=lambda step, steps: progress(Progress("finetune", step, steps)),
    )
    return network.to("cpu"), {**metrics, "steps": float(result.steps), "training_loss": result.loss}


def _encode(ordered: Sequence[Example], base_dir: Path, config: FirstModelConfig) -> list[EncodedText]:
    text = config.network.text
    if config.training_tokens is not None:
        text = replace(text, max_tokens=min(text.max_tokens, config.training_tokens))
    tokenizer = BehaviourTokenizer.from_folder(base_dir, text)
    return tokenizer.encode_texts([(example.history, example.target) for example in ordered])


def _set_heads(
    network: TwoHeadedNetwork, features: NDArray[np.float32], wanted: NDArray[np.float32]
) -> dict[str, float]:
    """Fit the heads in closed form; the penalty, and how good they are, by the newest fifth."""
    cut = len(features) - max(1, len(features) // 5)
    penalty = choose_penalty(features, wanted)
    older = fit_heads(features[:cut], wanted[:cut], penalty)
    held_out = older.predict(features[cut:])[:, 0]
    heads = fit_heads(features, wanted, penalty)
    with torch.no_grad():
        network.heads.weight.copy_(torch.from_numpy(heads.weight))
        network.heads.bias.copy_(torch.from_numpy(heads.bias))
    found = auc(held_out, wanted[cut:, 0] >= 0.5)
    return {"heads_penalty": penalty} | ({} if np.isnan(found) else {"heads_auc_held_out": found})


def _plain(config: FirstModelConfig) -> dict[str, Any]:
    """Return the configuration as JSON has it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain
