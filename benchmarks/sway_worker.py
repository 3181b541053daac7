"""A Sway worker under measurement: `python -m benchmarks.sway_worker free`, `… joining` or `… real FILE`.

free: a scorer that costs nothing, and no label join. joining: with the label join, so that each event waits.
real: the model; each packed batch and when its pass ended goes to FILE at the end. Settings come from the environment,
as ever.
"""

import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import torch

from benchmarks.children import die_with_parent
from benchmarks.passes import Pass, save
from model.batches import TextBatch
from model.loaded import LoadedModel
from model.tokens import EncodedText
from model.waiting import ScoredTexts
from stream.assembly import load_champion, make_batcher
from stream.metrics import WorkerMetrics
from stream.run import run_app, set_up_log
from stream.settings import Settings
from stream.worker import Parts, build_app


class FreeScorer:
    """Answers 0 for every text, at once."""

    def __init__(self, model: LoadedModel) -> None:
        self._version = model.version
        self._dtype = model.dtype

    def submit(self, jobs: Sequence[EncodedText]) -> "Future[ScoredTexts]":
        """Return a future that is done."""
        future: Future[ScoredTexts] = Future()
        zeros = np.zeros(len(jobs), np.float32)
        future.set_result(ScoredTexts(zeros, zeros, {}, self._version, self._dtype))
        return future


class RecordingModel:
    """A model that remembers what it was given."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.version = model.version
        self.dtype = model.dtype
        self.device = model.device
        self.pad_id = model.pad_id
        self.probe = model.probe
        self.passes: list[Pass] = []

    def score(self, batch: TextBatch) -> torch.Tensor:
        """Score, and note when the pass ended."""
        outputs = self._model.score(batch)
        self.passes.append(Pass(time.monotonic(), batch))
        return outputs


def main() -> None:
    """Run the worker until a signal comes."""
    die_with_parent()
    set_up_log(logging.WARNING)
    settings = Settings()
    model = load_champion(settings)
    if sys.argv[1] in {"free", "joining"}:
        settings.labels.outcomes = sys.argv[1] == "joining"
        settings.handover.enabled = False
        run_app(build_app(settings, Parts(model, FreeScorer(model))), logging.WARNING)
        return
    recording = RecordingModel(model)
    batcher = make_batcher(settings, recording, WorkerMetrics())
    run_app(build_app(settings, Parts(model, batcher)), logging.WARNING)
    save(recording.passes, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
