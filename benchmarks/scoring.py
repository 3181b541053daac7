"""Scorers for measurements: one that costs nothing, and a model that remembers what it was given."""

import time
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import torch

from benchmarks.passes import Pass
from model.batches import TextBatch
from model.loaded import LoadedModel
from model.tokens import EncodedText
from model.waiting import ScoredTexts


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
        self.probe = model.probe
        self.passes: list[Pass] = []

    def pack(self, texts: Sequence[EncodedText], *, multiple: int = 1) -> TextBatch:
        """Pack as the model does."""
        return self._model.pack(texts, multiple=multiple)

    def score(self, batch: TextBatch) -> torch.Tensor:
        """Score, and note when the pass ended."""
        outputs = self._model.score(batch)
        self.passes.append(Pass(time.monotonic(), batch))
        return outputs
