"""A resumable training for the late reading: from examples with snapshots to a calibrated checkpoint.

    work/late/texts-N.npy    vectors of the examples' texts, in parts; work/late/tuned/texts-N.npy: by the tuned layers
    work/late/tuning.pt      the state of tuning BERT's top layers after the last epoch, if they are tuned
    work/late/network.pt     the state of fitting the late network after the last epoch

Steps:

1. Encode each distinct text.
2. Compute numbers and item vectors from the snapshots, ordered by time.
3. If configured, tune BERT's top layers through the attention, and repeat steps 1 and 2.
4. Fit the network in two stages.
5. Calibrate it on the validation rows.

Source: docs/model.md.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model import late_checkpoint
from model.late import LateNetwork, LateSettings
from model.metrics import THRESHOLD, auc, calibration_error, log_loss
from model.network import hidden_size
from model.tokens import BehaviourTokenizer
from trainer.config import TrainingConfig
from trainer.dataset import Example
from trainer.errors import WorkFolderError
from trainer.feature_rows import FeatureRows, RowMaker, RowSettings
from trainer.item_vectors import Fitted, merge_older, restrict
from trainer.late import LateConfig, LateFit, TextEncoder, fit_late, interpolate_weights, score_late
from trainer.late_batches import LateRows
from trainer.late_calibration import calibrate
from trainer.late_examples import LateExamples
from trainer.late_texts import encoded, kept_vectors
from trainer.layers import layer_list
from trainer.processes import Processes
from trainer.progress import OnProgress, Progress
from trainer.starts import open_late
from trainer.text_encoder import TopLayers
from trainer.text_vectors import TextVectors
from trainer.tracking import Tracker
from trainer.work_folder import RESULT_FILE, Trained, result_in, write_json

_MIN_REFIT_ROWS = 250  # a fit takes about a second, and fewer rows change it little


class _Rows(NamedTuple):
    """All rows, the indices of the training and validation rows, and the fitted items."""

    features: FeatureRows
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    items: Fitted

    @property
    def validation_users(self) -> int:
        """The number of distinct users among the validation rows."""
        return len(np.unique(self.features.users[self.valid]))


class LateJob:
    """One training for the late reading. The arguments are those of trainer.job.train."""

    def __init__(
        self,
        start: Path,
        config: TrainingConfig,
        work: Path,
        processes: Processes,
        tracker: Tracker,
        progress: OnProgress,
        *,
        start_until_ms: int | None = None,
    ) -> None:
        self._folder, self._start_until_ms = start, start_until_ms
        self._config, self._late = config, config.late
        self._work, self._late_dir = work, work / "late"
        self._processes, self._tracker, self._progress = processes, tracker, progress
        self._start = open_late(start, config)
        self._settings = self._network_settings()
        self._tokenizer = BehaviourTokenizer.from_folder(start, self._start.encoder.settings.text)

    def run(self, train: Sequence[Example], valid: Sequence[Example]) -> Trained:
        """Train or resume in the first process; the others wait for the result.

        Raises TrainingRefused for too few examples, WorkFolderError if the processes do not share the work folder.
        """
        examples = LateExamples.of(train, valid, self._late)
        if self._processes.is_first:
            self._make(examples)
        self._processes.wait()
        trained = result_in(self._work)
        if trained is None:
            raise WorkFolderError(
                f"{self._work} has no result of the training: all processes must share one work folder"
            )
        return trained

    def _make(self, examples: LateExamples) -> None:
        began_s = time.monotonic()
        self._late_dir.mkdir(parents=True, exist_ok=True)
        self._start.encoder.place(self._processes.device, torch.float32).eval()
        texts = TextVectors.of(examples.texts, lambda distinct: self._vectors(distinct, self._late_dir))
        rows, start = self._rows(examples, texts), self._start.network
        if self._late.trained_layers:
            tuned = self._tune(rows, texts)
            texts = texts.replaced(self._vectors(texts.texts, self._late_dir / "tuned"))
            rows, start = self._rows(examples, texts), tuned.network
        champion = self._start.network
        # With few validation users, their deviation from the population exceeds the differences between epochs.
        validated = champion is None or rows.validation_users >= self._late.least_judges
        with _one_thread():  # steps are too small to gain from more threads
            fit = self._fit("network", rows, texts, start, validated=validated)
        if champion is not None and not self._late.trained_layers:
            interpolate_weights(fit.network, champion, self._late.champion_share)
        figures = {
            **(_calibrate(fit, rows, texts) if validated else {}),
            "train_examples": float(len(examples.ordered) - validated * examples.is_valid.sum()),
            "examples_without_snapshot": float(examples.unreadable),
            "examples_too_old": float(examples.older),
            "texts": float(len(texts.texts)),
            "seconds": time.monotonic() - began_s,
        }
        metrics = {name: value for name, value in figures.items() if np.isfinite(value)}
        first = 1 if start is None else 0  # 0 is the start itself
        curves = [
            {"step": float(epoch), "valid_loss": loss}
            for epoch, loss in enumerate(fit.epochs, first)
            if validated
        ]
        self._save(fit.network, rows.items)
        write_json(self._work / RESULT_FILE, {"metrics": metrics, "curves": curves})

    @property
    def _pad_id(self) -> int:
        return int(self._start.encoder.encoder.config.pad_token_id or 0)

    def _vectors(self, texts: Sequence[str], folder: Path) -> NDArray[np.float32]:
        def report(done: int) -> None:
            self._progress(Progress("behaviour texts", done, len(texts)))

        report(0)
        return kept_vectors(
            self._start.encoder, texts, self._tokenizer, folder, pad_id=self._pad_id, progress=report
        )

    def _rows(self, examples: LateExamples, texts: TextVectors) -> _Rows:
        """Compute the rows of all examples. Validation rows have no duplicates with the item unseen."""
        late, count = self._late, len(examples.ordered)
        settings = RowSettings(
            kept=max(1, min(examples.longest, self._settings.behaviours)),
            refit_rows=max(_MIN_REFIT_ROWS, -(-count // late.item_fits)),
            unseen_share=late.unseen_share,
        )
        start = restrict(self._start.table, examples.items)
        maker = RowMaker(texts, settings, start=start, start_until_ms=self._start_until_ms)
        for done, one in enumerate(examples.labelled()):
            self._progress(Progress("snapshots", done, count))
            maker.take(one)
        rows, items = maker.rows(), maker.fit_all()
        self._progress(Progress("snapshots", count, count))
        is_valid = examples.is_valid[rows.of]
        is_original = np.arange(len(rows.of)) < rows.events
        return _Rows(rows, np.flatnonzero(~is_valid), np.flatnonzero(is_valid & is_original), items)

    def _tune(self, rows: _Rows, texts: TextVectors) -> LateFit:
        """Tune the encoder's top layers, in place."""
        encoder = self._start.encoder
        layers = TopLayers(
            encoder,
            encoded(texts.texts, self._tokenizer),
            min(self._late.trained_layers, len(layer_list(encoder.encoder))),
            pad_id=self._pad_id,
            progress=lambda done: self._progress(Progress("behaviour texts", done, len(texts.texts))),
        )
        return self._fit("tuning", rows, texts, self._start.network, layers)

    def _fit(
        self,
        name: str,
        rows: _Rows,
        texts: TextVectors,
        start: LateNetwork | None,
        encoder: TextEncoder | None = None,
        *,
        validated: bool = True,
    ) -> LateFit:
        """Fit the network; with validated False, on all rows and without validation."""
        latest = Progress(f"late {name}: fine-tuning", 0, 0)

        def report(epoch: int, epochs: int, loss: float) -> None:
            nonlocal latest
            latest = replace(latest, done=epoch, total=epochs, loss=loss if validated else None)
            if validated:
                self._tracker.log(f"late {name}", {"valid_loss": loss}, epoch)
            self._progress(latest)

        self._progress(latest)
        return fit_late(
            LateRows.of(rows.features, texts.vectors),
            rows.train if validated else np.arange(len(rows.features.of)),
            rows.valid if validated else None,
            self._late_config(start),
            encoder=encoder,
            start=start,
            state_file=self._late_dir / f"{name}.pt",
            progress=report,
            on_step=lambda: self._progress(latest),
        )

    def _network_settings(self) -> LateSettings:
        late, network = self._late, self._start.network
        if network is None:
            settings = LateSettings(
                text_width=hidden_size(self._start.encoder.encoder),
                width=late.width,
                heads=late.heads,
                tower=late.tower,
                behaviours=late.behaviours,
            )
        else:
            settings = network.settings
        return replace(
            settings,
            dropout=late.dropout,
            input_dropout=late.input_dropout,
            loss=late.loss,
            lam=self._start.encoder.settings.lam,
        )

    def _late_config(self, start: LateNetwork | None) -> LateConfig:
        late = self._late
        return LateConfig(
            network=self._settings,
            numbers_epochs=late.numbers_epochs,
            epochs=late.epochs,
            batch_rows=late.batch_rows,
            learning_rate=late.learning_rate if start is None else late.champion_learning_rate,
            weight_decay=late.weight_decay,
            max_grad_norm=self._config.max_grad_norm,
            seed=self._config.seed,
            group_rows=late.group_rows,
            text_learning_rate=late.text_learning_rate,
        )

    def _save(self, network: LateNetwork, items: Fitted) -> None:
        folder = self._work / "model"
        shutil.rmtree(folder, ignore_errors=True)  # remains of an interrupted save
        encoder = self._start.encoder.place(torch.device("cpu"), torch.float32)
        late_checkpoint.save(
            folder,
            encoder,
            network,
            merge_older(items.table, self._start.table, self._late.most_items),
            items.map or self._start.item_map,
            encoder.settings,
            self._folder,
        )


def _calibrate(fit: LateFit, rows: _Rows, texts: TextVectors) -> dict[str, float]:
    """Calibrate the network on the validation rows, in place, and return its metrics there."""
    tensors = LateRows.of(rows.features, texts.vectors)
    scale, _ = calibrate(fit.network, tensors, rows.valid, fit.texts, rows.features.users[rows.valid])
    y_hat, y = score_late(fit.network, tensors, rows.valid, fit.texts)[:, 0], rows.features.y[rows.valid]
    return {
        "valid_loss": log_loss(y_hat, y),
        "valid_auc": auc(y_hat, y >= THRESHOLD),
        "valid_calibration_error": calibration_error(y_hat, y),
        "calibration_scale": scale.scale,
        "calibration_shift": scale.shift,
    }


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
