"""Learners on feature rows: LightGBM and the late network. Settings are chosen on the validation rows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.streaming_counts import SETTINGS
from model.metrics import log_loss
from trainer.feature_rows import FeatureRows
from trainer.late import LateConfig, TextEncoder, fit_late, score_late
from trainer.late_batches import LateRows

Places = NDArray[np.int64]

_TREES = 2_000
_PATIENCE = 100
_TRIED: tuple[dict[str, float], ...] = (
    {},
    {"num_leaves": 15, "min_child_samples": 120},
    {"num_leaves": 63, "min_child_samples": 120, "feature_fraction": 0.4},
)


@dataclass(frozen=True, slots=True)
class Parts:
    """Row indices of the training, validation and test parts."""

    train: Places
    valid: Places
    test: Places


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """Predictions of a run.

    valid, test: y_hat of validation and test rows. valid_loss: the log-loss by which settings were chosen.
    seconds: CPU time.
    """

    valid: NDArray[np.float64]
    test: NDArray[np.float64]
    valid_loss: float
    seconds: float


def trees(rows: FeatureRows, parts: Parts, columns: Sequence[int], seed: int) -> Predicted:
    """Train LightGBM on some columns with several settings; return the one with the lowest validation loss."""
    began_s = time.process_time()
    x, y = rows.numbers[:, columns], rows.y
    tried = []
    for settings in _TRIED:
        fitted = lightgbm.Dataset(x[parts.train], y[parts.train])
        judged = lightgbm.Dataset(x[parts.valid], y[parts.valid], reference=fitted)
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        chosen = {**SETTINGS, **settings, "seed": seed, "num_threads": 1}
        booster = lightgbm.train(chosen, fitted, _TREES, valid_sets=[judged], callbacks=[stop])
        valid, test = (np.asarray(booster.predict(x[part]), np.float64) for part in (parts.valid, parts.test))
        tried.append((log_loss(valid, y[parts.valid]), valid, test))
    loss, valid, test = min(tried, key=lambda one: one[0])
    return Predicted(valid, test, loss, time.process_time() - began_s)


def network(
    rows: FeatureRows,
    texts: NDArray[np.float32],
    parts: Parts,
    config: LateConfig,
    *,
    encoder: TextEncoder | None = None,
    name: str = "network",
) -> Predicted:
    """Train the late network; the best epoch is chosen on the validation rows."""
    began_s = time.process_time()
    late_rows = LateRows.of(rows, texts)

    def progress(epoch: int, of: int, loss: float) -> None:
        print(f"{name}, seed {config.seed}: epoch {epoch} of {of}, validation loss {loss:.4f}", flush=True)

    fit = fit_late(late_rows, parts.train, parts.valid, config, encoder=encoder, progress=progress)
    valid, test = (
        score_late(fit.network, late_rows, part, fit.texts)[:, 0].astype(np.float64)
        for part in (parts.valid, parts.test)
    )
    return Predicted(valid, test, fit.valid_loss, time.process_time() - began_s)
