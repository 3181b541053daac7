"""Scorers for benchmarks: one without cost, and models that record their passes."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import torch

from benchmarks.passes import Pass
from model.batches import TextBatch
from model.errors import ModelIncompatible
from model.late_model import LateModel
from model.loaded import LoadedModel
from model.loading import Model
from model.network import hidden_size
from model.tokens import EncodedText
from model.waiting import ScoredTexts

_FILLED_AT_ONCE = 4_096


class FreeScorer:
    """A scorer that immediately returns 0 for every text."""

    def __init__(self, model: Model) -> None:
        self._version = model.version
        self._dtype = model.dtype

    def submit(self, jobs: Sequence[EncodedText]) -> "Future[ScoredTexts]":
        """Return a completed future."""
        future: Future[ScoredTexts] = Future()
        zeros = np.zeros(len(jobs), np.float32)
        future.set_result(ScoredTexts(zeros, zeros, {}, self._version, self._dtype))
        return future


class RecordingModel:
    """A model that records its batches."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.version = model.version
        self.dtype = model.dtype
        self.device = model.device
        self.probe = model.probe
        self.passes: list[Pass] = []

    def pack(self, texts: Sequence[EncodedText], *, multiple: int = 1) -> TextBatch:
        """Pack like the wrapped model."""
        return self._model.pack(texts, multiple=multiple)

    def score(self, batch: TextBatch) -> torch.Tensor:
        """Score a batch and record the end of the pass."""
        outputs = self._model.score(batch)
        self.passes.append(Pass(time.monotonic(), batch))
        return outputs


class TimedModel:
    """A model that records the rows and the seconds of each pass."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.version = model.version
        self.dtype = model.dtype
        self.device = model.device
        self.probe = model.probe
        self.passes: list[tuple[int, float]] = []

    def pack(self, texts: Sequence[Any], *, multiple: int = 1) -> Any:
        """Pack like the wrapped model."""
        return self._model.pack(texts, multiple=multiple)

    def score(self, batch: Any) -> torch.Tensor:
        """Score a batch and record the time."""
        began = time.perf_counter()
        outputs = self._model.score(batch)
        self.passes.append((len(batch), time.perf_counter() - began))
        return outputs


def fill(model: Model, texts: int) -> None:
    """Fill a late model's cache with vectors of made-up texts. Raises ModelIncompatible for a joint model."""
    if not isinstance(model, LateModel):
        raise ModelIncompatible(f"model {model.version} has no cache of text vectors")
    width = hidden_size(model.network.encoder)
    for start in range(1, texts + 1, _FILLED_AT_ONCE):
        keys = np.arange(start, min(start + _FILLED_AT_ONCE, texts + 1), dtype=np.uint64)
        vectors = torch.randn(len(keys), width, device=model.device)
        with torch.inference_mode():
            model.vectors.put(keys, [bytes(40) for _ in keys], vectors, vectors.norm(dim=1))
