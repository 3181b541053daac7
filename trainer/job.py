"""A resumable training: from examples and a start checkpoint to a trained checkpoint in a work folder.

    work/training.json        the identity of the training; the folder refuses any other
    work/STAGE/checkpoints/   transformers' checkpoints, to resume from
    work/STAGE/done/          the network after the stage
    work/late/                files of the late reading (trainer.late_job), which has no stages
    work/tensorboard/STAGE/   event files
    work/model/               the result, a Sway checkpoint
    work/result.json          metrics and curves; written last

Under a launcher (`torchrun`, `accelerate launch`) every process calls train() with the same arguments. The first
process writes, and all return the same result.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from model import checkpoint
from model.hashing import sha256_of
from model.reading import Reading
from model.tokens import BehaviourTokenizer
from trainer.config import FinetuneConfig, TrainingConfig
from trainer.dataset import Example
from trainer.errors import TrainingRefused
from trainer.late_job import LateJob
from trainer.loop import Run
from trainer.pretrain import Vocabulary, pretrain
from trainer.processes import Processes
from trainer.progress import OnProgress, Progress, ignore_progress
from trainer.rows import encode
from trainer.stages import StageResult, Stages
from trainer.starts import choose_reading, is_sway_checkpoint, open_joint
from trainer.tracking import Tracker, tracking
from trainer.work_folder import RESULT_FILE, Trained, claim, result_in, write_json

__all__ = ["Trained", "digest_of", "train", "version_of"]

RECIPE = 2  # part of the version id: increment it when the same inputs yield a different model


def train(
    train: Sequence[Example],
    valid: Sequence[Example],
    *,
    start: Path,
    config: TrainingConfig,
    work: Path,
    unlabelled: Sequence[Example] = (),
    start_until_ms: int | None = None,
    progress: OnProgress = ignore_progress,
) -> Trained:
    """Train a model on examples, or resume an interrupted training.

    train: at least two, in any order. valid: for the evaluations during training; may be empty unless config.patience
    is above 0. unlabelled: more texts for pre-training; their labels are not read.
    start: a Sway checkpoint (with a sway.json) or a plain Hugging Face checkpoint. A Sway checkpoint keeps its own
    reading, text settings, pooling and lambda; if the reading changes, only its encoder is used.
    start_until_ms: the time by which all labels that the start was trained on were known; None if unknown. The late
    reading also uses the start's item table for later examples.
    work: the work folder. A call with the same arguments and folder resumes from the last checkpoint, or returns the
    result of a finished training at once.
    Raises TrainingRefused if the arguments do not fit together, WorkFolderError if the folder belongs to another
    training, ModelIncompatible if the start is no checkpoint.
    """
    _check(train, valid, start, config)
    reading = choose_reading(config, start, train)
    processes = Processes.of(work)
    identity = {**_identity(train, valid, unlabelled, start, config), "start_until_ms": start_until_ms}
    if processes.is_first:
        claim(work, identity)
    processes.wait()
    found = result_in(work)
    if found is not None:
        progress(Progress("found", 1, 1))
        return found
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads or before)
    try:
        with tracking(replace(config, **_NO_TRACKING) if not processes.is_first else config, work) as tracker:
            if reading is Reading.LATE:
                job = LateJob(
                    start, config, work, processes, tracker, progress, start_until_ms=start_until_ms
                )
                return job.run(train, valid)
            return _Job(start, config, work, processes, tracker, progress).run(train, valid, unlabelled)
    finally:
        torch.set_num_threads(before)


def version_of(parent: str | None, base: str, data: Mapping[str, Any], config: TrainingConfig) -> str:
    """Return the version id of a training: `v-` and 12 hexadecimal digits.

    parent: the version that it starts from, None for a plain checkpoint. base: the base checkpoint's name.
    data: a unique identification of the examples: offset ranges, or the sha256 of files.
    """
    identity = [RECIPE, parent, base, data, config.identity()]
    return f"v-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]}"


_NO_TRACKING: dict[str, Any] = {"tensorboard": False, "wandb": False}


class _Job:
    """One training for the joint reading."""

    def __init__(
        self,
        start: Path,
        config: TrainingConfig,
        work: Path,
        processes: Processes,
        tracker: Tracker,
        progress: OnProgress,
    ) -> None:
        self._start = start
        self._config = config
        self._work = work
        self._processes = processes
        self._tracker = tracker
        self._progress = progress
        self._network = open_joint(start, config)
        self._tokenizer = BehaviourTokenizer.from_folder(start, self._network.settings.text)
        self._untrained = not bool(self._network.heads.weight.any())

    def run(
        self, train: Sequence[Example], valid: Sequence[Example], unlabelled: Sequence[Example]
    ) -> Trained:
        config, began_s = self._config, time.monotonic()
        ordered = sorted(train, key=lambda example: example.occurred_at)
        newest = ordered[-config.newest_texts :] if config.newest_texts else ordered
        heads_first = self._untrained if config.heads_first is None else config.heads_first
        metrics: dict[str, float] = {}
        if config.pretraining.epochs:
            texts = [*unlabelled, *ordered]
            metrics |= self._stage(
                "pretraining", lambda stages, run: self._pretrain(stages, texts, run)
            ).metrics
        targets = config.targets
        if targets.epochs and (targets.on_champion or not is_sway_checkpoint(self._start)):
            knobs, first = _of_targets(config), heads_first
            metrics |= self._stage(
                "targets", lambda stages, run: stages.targets(ordered, knobs, heads_first=first, run=run)
            ).metrics
            heads_first = False
        last = self._stage(
            "texts",
            lambda stages, run: stages.texts(
                newest,
                config,
                valid=valid,
                augmentation=config.augmentation,
                lora=config.lora,
                heads_first=heads_first,
                run=run,
            ),
        )
        metrics = {**metrics, **last.metrics, "seconds": time.monotonic() - began_s}
        if self._processes.is_first:
            self._save(self._work / "model")
            write_json(self._work / RESULT_FILE, {"metrics": metrics, "curves": last.curves})
        self._processes.wait()
        return Trained(self._work / "model", metrics, last.curves)

    def _stage(self, name: str, learn: Callable[[Stages, Run], StageResult]) -> StageResult:
        """Run a stage and save its result, or load the result of an earlier run."""
        done = self._work / name / "done"
        if (done / RESULT_FILE).is_file():
            self._network = checkpoint.load(done)
            plain = json.loads((done / RESULT_FILE).read_text(encoding="utf-8"))
            return StageResult(plain["metrics"], plain["curves"])
        # The random state must not depend on whether the previous stage ran now or in an earlier call.
        torch.manual_seed(self._config.seed)
        self._network.place(self._processes.device, torch.float32)
        stages = Stages(self._network, self._tokenizer, seed=self._config.seed, progress=self._progress)
        result = learn(stages, Run(name, self._work / name / "checkpoints", self._tracker))
        if self._processes.is_first:
            self._save(done)
            write_json(done / RESULT_FILE, {"metrics": result.metrics, "curves": result.curves})
            shutil.rmtree(self._work / name / "checkpoints", ignore_errors=True)
        self._processes.wait()
        return result

    def _pretrain(self, stages: Stages, examples: Sequence[Example], run: Run) -> StageResult:
        def report(step: int, steps: int, loss: float | None) -> None:
            self._progress(Progress("pretraining", step, steps, loss))

        result = pretrain(
            stages.network,
            encode(examples, self._tokenizer),
            Vocabulary.from_folder(self._start),
            self._config.pretraining,
            seed=self._config.seed,
            run=replace(run, progress=report),
        )
        return StageResult(
            {"pretraining_loss": result.loss, "pretraining_valid_loss": result.validation["valid_loss"]},
            result.curves,
        )

    def _save(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # remains of an interrupted save
        checkpoint.save(self._network, folder, tokenizer_from=self._start)


def _of_targets(config: TrainingConfig) -> FinetuneConfig:
    """Return the knobs of the stage that learns the targets."""
    targets = config.targets
    return replace(
        config,
        epochs=targets.epochs,
        batch_rows=targets.batch_rows,
        learning_rate=targets.learning_rate,
        trained_layers=targets.trained_layers,
        adversarial_epsilon=0.0,
    )


def _check(train: Sequence[Example], valid: Sequence[Example], start: Path, config: TrainingConfig) -> None:
    if len(train) < 2:
        raise TrainingRefused(f"{len(train)} examples are too few to train on; at least 2 are needed")
    if config.patience and not valid:
        raise TrainingRefused(f"patience={config.patience} needs validation examples, and there are none")
    if is_sway_checkpoint(start):
        for name in ("pooling", "text", "kept_layers"):
            if getattr(config, name) is not None:
                raise TrainingRefused(
                    f"{name} is set, but {start} is a Sway checkpoint and has its own: leave it out, or start "
                    "from a plain Hugging Face checkpoint"
                )


def _identity(
    train: Sequence[Example],
    valid: Sequence[Example],
    unlabelled: Sequence[Example],
    start: Path,
    config: TrainingConfig,
) -> dict[str, Any]:
    """Return the identity of the training, as hashes: it must not contain users' texts."""
    weights = [path for path in sorted(start.glob("*.safetensors")) if path.is_file()]
    return {
        "recipe": RECIPE,
        "config": config.identity(),
        "start": {path.name: sha256_of(path) for path in weights},
        "train": digest_of(train),
        "valid": digest_of(valid),
        "unlabelled": digest_of(unlabelled),
    }


def digest_of(examples: Sequence[Example]) -> str:
    """Return the sha256 of all fields of the examples, hexadecimal."""
    digest = hashlib.sha256()
    for example in examples:
        plain = asdict(example)
        snapshot = plain.pop("snapshot")
        digest.update(json.dumps(plain).encode())
        digest.update(snapshot or b"")
    return digest.hexdigest()
