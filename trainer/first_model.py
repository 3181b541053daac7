"""The first model: from a pre-trained checkpoint and labelled examples to a version in the registry.

Training is that of every other version (trainer.job).
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from model.hashing import sha256_of
from model.manifest import Manifest
from model.reading import Reading
from model.registry import ModelRegistry
from model.text import TextSettings
from trainer.augment import Augmentation
from trainer.config import TargetStage, TrainingConfig
from trainer.dataset import TO_MS, Example, latest_known_at
from trainer.job import digest_of, train
from trainer.progress import OnProgress, Progress, ignore_progress

RECIPE = 4  # part of the version id: increment it when the same inputs yield a different model


def late_config(text: TextSettings) -> TrainingConfig:
    """Return the knobs of a first model for the late reading, sized for two cores without a GPU."""
    return TrainingConfig(reading=Reading.LATE, text=text, tensorboard=False)


def joint_config(text: TextSettings, newest_texts: int | None = 6_000) -> TrainingConfig:
    """Return the knobs of a first model for the joint reading, sized for two cores without a GPU."""
    return TrainingConfig(
        reading=Reading.JOINT,
        text=text,
        targets=TargetStage(trained_layers=6),
        newest_texts=newest_texts,
        epochs=1.0,
        trained_layers=2,
        augmentation=Augmentation(histories_dropped=0.5),
        tensorboard=False,
    )


def fit_first_model(
    examples: Sequence[Example],
    base_dir: Path,
    registry: ModelRegistry,
    *,
    config: TrainingConfig,
    base_name: str = "all-MiniLM-L6-v2",
    progress: OnProgress = ignore_progress,
) -> str:
    """Fit the first model, publish it without promoting it, and return its version.

    examples: at least two, in any order. base_dir: a Hugging Face checkpoint in safetensors format. base_name: recorded
    in the manifest.
    The version id is a hash of data, base and configuration. If the registry has that version, the call returns at
    once.
    Raises TrainingRefused for too few examples, ModelIncompatible if base_dir is no such checkpoint.
    """
    version = version_of(examples, base_dir, config)
    if registry.exists(version):
        progress(Progress("found", 1, 1))
        return version
    with tempfile.TemporaryDirectory(prefix="sway-first-model-") as work:
        trained = train(examples, (), start=base_dir, config=config, work=Path(work), progress=progress)
        first = min(example.occurred_at for example in examples)
        manifest = Manifest(
            version=version,
            base=base_name,
            created_at_ms=int(time.time() * 1000),
            data={"examples": len(examples), "from_ms": first, TO_MS: latest_known_at(examples)},
            metrics=trained.metrics,
            config=config.to_plain(),
        )
        progress(Progress("publish", 0, 1))
        registry.publish(trained.folder, manifest)
    progress(Progress("publish", 1, 1))
    return version


def version_of(examples: Sequence[Example], base_dir: Path, config: TrainingConfig) -> str:
    """Return the version id for these inputs: `first-` and 12 hexadecimal digits."""
    base = sha256_of(base_dir / "model.safetensors")
    identity = json.dumps([RECIPE, config.identity(), base, digest_of(examples)], sort_keys=True)
    return f"first-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
