"""A training for the late reading, from examples with snapshots to a calibrated checkpoint, resumable.

    work/late/texts-N.npy    vectors of the examples' texts, in parts; tuned/texts-N.npy: by the tuned layers
    work/late/tuning.pt      BERT's top layers being tuned, as of the last epoch; where they are
    work/late/network.pt     the late network being fitted, as of the last epoch

Steps: a vector for each distinct text; numbers and item vectors from the snapshots, in the order of time; where it is
asked for, BERT's top layers tuned through the attention, and vectors and numbers anew; the network in its two stages;
calibration on the rows that chose the epoch.

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
from trainer.item_vectors import Fitted, only, with_older
from trainer.late import LateConfig, LateFit, TextEncoder, draw_back, fit_late, score_late
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

_LEAST_REFIT_ROWS = 250  # fewer tell little, and a fit costs a second


class _Rows(NamedTuple):
    """All rows, the places of those to learn from and to judge by, and what the items came to."""

    features: FeatureRows
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    items: Fitted

    @property
    def judges(self) -> int:
        """How many users the rows to judge by are of."""
        return len(np.unique(self.features.users[self.valid]))


class LateJob:
    """One training for the late reading under way. Arguments as trainer.job.train has them."""

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
        self._work, self._kept = work, work / "late"
        self._processes, self._tracker, self._progress = processes, tracker, progress
        self._start = open_late(start, config)
        self._settings = self._network_settings()
        self._tokenizer = BehaviourTokenizer.from_folder(start, self._start.encoder.settings.text)

    def run(self, train: Sequence[Example], valid: Sequence[Example]) -> Trained:
        """Train, or go on; the first process does, the others wait for it. Raises TrainingRefused."""
        examples = LateExamples.of(train, valid, self._late)
        if self._processes.is_first:
            self._make(examples)
        self._processes.wait()
        trained = result_in(self._work)
        if trained is None:
            raise WorkFolderError(
                f"{self._work} lost the training's result: several processes need one folder"
            )
        return trained

    def _make(self, examples: LateExamples) -> None:
        began_s = time.monotonic()
        self._kept.mkdir(parents=True, exist_ok=True)
        self._start.encoder.place(self._processes.device, torch.float32).eval()
        texts = TextVectors.of(examples.said, lambda distinct: self._vectors(distinct, self._kept))
        rows, start = self._rows(examples, texts), self._start.network
        if self._late.trained_layers:
            tuned = self._tune(rows, texts)
            texts = texts.replaced(self._vectors(texts.texts, self._kept / "tuned"))
            rows, start = self._rows(examples, texts), tuned.network
        champion = self._start.network
        # A few people differ from all others by more than one epoch or calibration does from another.
        judged = champion is None or rows.judges >= self._late.least_judges
        with _one_thread():  # in steps this small more would only wait for each other
            fit = self._fit("network", rows, texts, start, judged=judged)
        if champion is not None and not self._late.trained_layers:
            draw_back(fit.network, champion, self._late.champion_share)
        figures = {
            **(_judged(fit, rows, texts) if judged else {}),
            "train_examples": float(len(examples.ordered) - judged * examples.is_valid.sum()),
            "examples_without_snapshot": float(examples.unreadable),
            "examples_too_old": float(examples.older),
            "texts": float(len(texts.texts)),
            "seconds": time.monotonic() - began_s,
        }
        metrics = {name: value for name, value in figures.items() if np.isfinite(value)}
        first = 1 if start is None else 0  # 0: the network that it goes on from
        curves = [
            {"step": float(epoch), "valid_loss": loss}
            for epoch, loss in enumerate(fit.epochs, first)
            if judged
        ]
        self._save(fit.network, rows.items)
        write_json(self._work / RESULT_FILE, {"metrics": metrics, "curves": curves})

    @property
    def _pad_id(self) -> int:
        return int(self._start.encoder.encoder.config.pad_token_id or 0)

    def _vectors(self, texts: Sequence[str], folder: Path) -> NDArray[np.float32]:
        def told(done: int) -> None:
            self._progress(Progress("behaviour texts", done, len(texts)))

        told(0)
        return kept_vectors(
            self._start.encoder, texts, self._tokenizer, folder, pad_id=self._pad_id, progress=told
        )

    def _rows(self, examples: LateExamples, texts: TextVectors) -> _Rows:
        """Make the rows of all examples; those that judge are made once each, as they were scored."""
        late, count = self._late, len(examples.ordered)
        settings = RowSettings(
            kept=max(1, min(examples.longest, self._settings.behaviours)),
            refit_rows=max(_LEAST_REFIT_ROWS, -(-count // late.item_fits)),
            unseen_share=late.unseen_share,
        )
        start = only(self._start.table, examples.items)
        maker = RowMaker(texts, settings, start=start, start_until_ms=self._start_until_ms)
        for done, one in enumerate(examples.labelled()):
            self._progress(Progress("snapshots", done, count))
            maker.take(one)
        rows, items = maker.rows(), maker.fit_all()
        self._progress(Progress("snapshots", count, count))
        judges = examples.is_valid[rows.of]
        own = np.arange(len(rows.of)) < rows.events
        return _Rows(rows, np.flatnonzero(~judges), np.flatnonzero(judges & own), items)

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
        judged: bool = True,
    ) -> LateFit:
        """Fit; where nothing is judged, on all rows."""
        latest = Progress(f"late {name}: fine-tuning", 0, 0)

        def told(epoch: int, epochs: int, loss: float) -> None:
            nonlocal latest
            latest = replace(latest, done=epoch, total=epochs, loss=loss if judged else None)
            if judged:
                self._tracker.log(f"late {name}", {"valid_loss": loss}, epoch)
            self._progress(latest)

        self._progress(latest)
        return fit_late(
            LateRows.of(rows.features, texts.vectors),
            rows.train if judged else np.arange(len(rows.features.of)),
            rows.valid if judged else None,
            self._late_config(start),
            encoder=encoder,
            start=start,
            kept=self._kept / f"{name}.pt",
            progress=told,
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
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted save left
        encoder = self._start.encoder.place(torch.device("cpu"), torch.float32)
        late_checkpoint.save(
            folder,
            encoder,
            network,
            with_older(items.table, self._start.table, self._late.most_items),
            items.map or self._start.item_map,
            encoder.settings,
            self._folder,
        )


def _judged(fit: LateFit, rows: _Rows, texts: TextVectors) -> dict[str, float]:
    """Calibrate on the rows to judge by, in place, and return the figures there."""
    said = LateRows.of(rows.features, texts.vectors)
    scale, _ = calibrate(fit.network, said, rows.valid, fit.texts, rows.features.users[rows.valid])
    y_hat, y = score_late(fit.network, said, rows.valid, fit.texts)[:, 0], rows.features.y[rows.valid]
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
