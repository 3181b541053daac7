"""The demo's model: fitted once on the oldest ratings, then loaded from the user's cache folder."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs

from model.registry import ModelRegistry
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, Outcome
from sway.base_model import minilm_dir
from sway.partitioner import murmur2_partition
from trainer.dataset import label_in_order
from trainer.first_model import fit_first_model, late_config
from trainer.progress import Progress

MAX_TOKENS = 96
PARTITIONS = 4  # of the demo's topics; item outcomes are counted per partition


def partition_of(user_id: str) -> int:
    """Return the partition of a user's records, by the murmur2 hash of Kafka's Java client and Faust."""
    return murmur2_partition(user_id.encode(), PARTITIONS)


def default_registry() -> Path:
    """Return the folder of the registry that the demo keeps between runs."""
    return platformdirs.user_cache_path("sway", appauthor=False) / "demo-registry"


def fit_or_find(
    pairs: Sequence[tuple[BehaviorEvent, Outcome]],
    registry_dir: Path,
    progress: Callable[[Progress], None],
) -> str:
    """Fit a model on these ratings, promote it, and return its version.

    A call with the same data and recipe returns the version in the registry.
    """
    base = minilm_dir()
    text = TextSettings(max_tokens=MAX_TOKENS)
    tokenizer = BehaviourTokenizer.from_folder(base, text)
    examples = list(label_in_order(pairs, tokenizer, partition_of=partition_of))
    registry = ModelRegistry(registry_dir)
    version = fit_first_model(examples, base, registry, config=late_config(text), progress=progress)
    if registry.champion() != version:
        registry.promote(version, reason="sway demo")
    return version


def copy_version(registry_dir: Path, version: str, own: Path) -> Path:
    """Create a registry with this version only, as the champion; return its folder."""
    kept, registry = ModelRegistry(registry_dir), ModelRegistry(own)
    with tempfile.TemporaryDirectory(prefix="sway-copy-") as scratch:
        registry.publish(kept.fetch(version, Path(scratch) / version), kept.manifest(version))
    registry.promote(version, reason="sway demo")
    return own
