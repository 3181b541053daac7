"""A tiny network with the real tokenizer, and registries with it, for tests that do not depend on its scores."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.registry import ModelRegistry


def make_base(folder: Path) -> Path:
    """Save a checkpoint with two layers, width 32, random weights and the real tokenizer; return the folder."""
    import torch
    from transformers import BertConfig, BertModel

    from model import checkpoint
    from model.network import NetworkSettings, TwoHeadedNetwork
    from sway import base_model

    torch.set_num_threads(1)  # a tiny model is slower on more threads, above all on a busy machine
    torch.manual_seed(0)
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    network = TwoHeadedNetwork(BertModel(config), NetworkSettings())  # type: ignore[no-untyped-call]
    checkpoint.save(network, folder, tokenizer_from=base_model.minilm_dir())
    return folder


def plain(base: Path, folder: Path) -> Path:
    """Copy a checkpoint without heads and Sway's settings, as a plain Hugging Face one; return the new folder."""
    ours = shutil.ignore_patterns("sway.json", "heads.safetensors")
    return Path(shutil.copytree(base, folder, ignore=ours))


def publish_tiny(registry: "ModelRegistry", version: str, base: Path, folder: Path, *, seed: int) -> str:
    """Publish the tiny network with random heads and return the version. folder: an empty folder for the checkpoint."""
    import torch

    from model import checkpoint
    from model.manifest import Manifest
    from model.network import NetworkSettings

    network = checkpoint.from_base(base, NetworkSettings())
    with torch.no_grad():
        network.heads.weight.copy_(torch.randn(2, 32, generator=torch.Generator().manual_seed(seed)))
    checkpoint.save(network, folder, tokenizer_from=base)
    return registry.publish(folder, Manifest(version, base="tiny", created_at_ms=0))


def make_registry(path: Path, base: Path, folder: Path) -> Path:
    """Create a registry with the champion "tiny", which has random heads. folder: empty, for the checkpoint."""
    from model.registry import ModelRegistry

    registry = ModelRegistry(path)
    registry.promote(publish_tiny(registry, "tiny", base, folder, seed=2))
    return path
