"""Fake models for the micro-batcher's tests: one that echoes its input, and some that inject faults."""

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.batches import TextBatch, to_tensors
from model.tokens import EncodedText

PROBE_ID = 7
BAD_ID = 13


def encoded(tokens: int, *, first_id: int = 1000) -> EncodedText:
    """Return a text of this many tokens whose first id identifies it."""
    ids = np.arange(first_id, first_id + tokens, dtype=np.int32)
    return EncodedText(ids.tobytes(), tokens, max(1, tokens // 2), truncated=False, behaviours=0)


class EchoModel:
    """Returns each text's first id and token count, so that swapped rows are detected."""

    dtype = "fp32"
    device = torch.device("cpu")
    pad_id = 0

    def __init__(self, version: str = "echo") -> None:
        self.version = version
        self.probe = encoded(3, first_id=PROBE_ID)
        self.batches: list[list[int]] = []

    def pack(self, texts: Sequence[EncodedText], *, multiple: int = 1) -> TextBatch:
        return to_tensors(texts, pad_id=self.pad_id, multiple=multiple)

    def score(self, batch: TextBatch) -> Tensor:
        self.batches.append(batch.input_ids[:, 0].tolist())
        return torch.stack([batch.input_ids[:, 0], batch.attention_mask.sum(1)], dim=1).float()


class GatedModel(EchoModel):
    """Scores only while its gate is open. `entered` is set when a pass begins."""

    def __init__(self, version: str = "gated") -> None:
        super().__init__(version)
        self.gate = threading.Event()
        self.entered = threading.Event()

    def score(self, batch: TextBatch) -> Tensor:
        self.entered.set()
        if not self.gate.wait(20):
            raise TimeoutError("the test never opened the gate")
        return super().score(batch)


class FailingModel(EchoModel):
    """Raises for every batch that contains a text with one of these first ids."""

    def __init__(self, *bad_ids: int) -> None:
        super().__init__("failing")
        self.bad_ids = set(bad_ids)

    def score(self, batch: TextBatch) -> Tensor:
        outputs = super().score(batch)
        if self.bad_ids & set(self.batches[-1]):
            raise RuntimeError("injected failure")
        return outputs


class NotANumberModel(EchoModel):
    """Returns NaN for texts with one of these first ids."""

    def __init__(self, *bad_ids: int) -> None:
        super().__init__("nan")
        self.bad_ids = set(bad_ids)

    def score(self, batch: TextBatch) -> Tensor:
        outputs = super().score(batch)
        for row, first_id in enumerate(self.batches[-1]):
            if first_id in self.bad_ids:
                outputs[row] = torch.nan
        return outputs


class OutOfMemoryModel(EchoModel):
    """Has memory for `rows` rows. After `recovers_after` failures of a single row, it fits that row too."""

    def __init__(self, rows: int, recovers_after: int = 0) -> None:
        super().__init__("oom")
        self.rows = rows
        self.recovers_after = recovers_after
        self.refused = 0

    def score(self, batch: TextBatch) -> Tensor:
        outputs = super().score(batch)
        is_probe = self.batches[-1] == [PROBE_ID]
        if len(batch) > self.rows and not (
            is_probe or (len(batch) == 1 and self.refused >= self.recovers_after)
        ):
            self.refused += len(batch) == 1
            raise torch.OutOfMemoryError("injected: out of memory")
        return outputs
