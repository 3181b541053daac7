"""One forward pass that survives a bad text and a full memory, and tells both from a broken device.

Out of memory: halve and retry; one text alone waits and retries. Another failure: score a known-good text
first; if that fails too it is the device, else halve until the bad texts stand alone.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.errors import DeviceError, ModelOutputError, OutOfMemory
from model.jobs import Job


class Batch(Protocol):
    """Packed texts; TextBatch is one, LateBatch another."""

    def __len__(self) -> int: ...
    @property
    def padded_tokens(self) -> int:
        """What a pass pays for."""
        ...

    def pinned(self) -> Self:
        """Copy into page-locked memory, from which a GPU fetches without the CPU."""
        ...

    def rows(self, start: int, stop: int) -> Self:
        """Return a slice of the rows, which scores as if there were no others."""
        ...

    def select(self, rows: Sequence[int]) -> Self:
        """Return these rows alone."""
        ...


class ScoringModel(Protocol):
    """What the micro-batcher asks of a model; LoadedModel is one, LateModel another.

    Its texts and its batches are of its own kind: it packs what it scores.
    """

    @property
    def version(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def probe(self) -> Job: ...
    def pack(self, texts: Sequence[Any], *, multiple: int = 1) -> Any:
        """Return a Batch of N >= 1 texts. multiple: what tokens are padded to."""
        ...

    def score(self, batch: Any) -> Tensor:
        """Return y_hat and z_hat, float32 (N, 2), of a Batch that pack() made."""
        ...


@dataclass(frozen=True, slots=True)
class BatchScores:
    """What became of a batch.

    outputs: float32 (N, 2); NaN in the rows that failed. failed: why, by row.
    passes: how many forward passes it took, 1 if all went well.
    """

    outputs: NDArray[np.float32]
    failed: dict[int, Exception]
    passes: int


class ForwardPass:
    """Scores batches; the retries when memory is full are counted and timed by it.

    memory_tries: how often one text alone is tried; memory_wait_s: between two such tries.
    """

    def __init__(
        self,
        *,
        memory_tries: int = 3,
        memory_wait_s: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._memory_tries = memory_tries
        self._memory_wait_s = memory_wait_s
        self._sleep = sleep

    def run(self, model: ScoringModel, batch: Batch) -> BatchScores:
        """Score every row, or say why not, row by row.

        Raises DeviceError if a known-good text fails too.
        """
        outputs = np.full((len(batch), 2), np.nan, np.float32)
        failed: dict[int, Exception] = {}
        passes = 0
        todo = [range(len(batch))]
        while todo:
            rows = todo.pop()
            passes += 1
            try:
                found = self._attempt(model, batch.rows(rows.start, rows.stop))
            except Exception as exc:  # whatever a model raises: the probe tells text from device
                if len(rows) == 1 or not isinstance(exc, OutOfMemory):
                    _probe(model, exc)
                if len(rows) == 1:
                    failed[rows.start] = exc.with_traceback(None)  # its frames hold the batch's memory
                else:
                    middle = (rows.start + rows.stop) // 2
                    todo += [range(middle, rows.stop), range(rows.start, middle)]
                continue
            outputs[rows.start : rows.stop] = found
            bad = (np.flatnonzero(~np.isfinite(found).all(axis=1)) + rows.start).tolist()
            if bad and len(rows) == 1:
                _probe(model, None)
                failed[rows.start] = ModelOutputError(f"model {model.version} returned NaN or infinity")
                outputs[rows.start] = np.nan
            else:
                todo += [range(row, row + 1) for row in bad]  # perhaps a neighbour's doing: once more, alone
        return BatchScores(outputs, failed, passes)

    def _attempt(self, model: ScoringModel, rows: Batch) -> NDArray[np.float32]:
        """Score these rows in one pass; one row alone waits for memory and tries again."""
        tries = self._memory_tries if len(rows) == 1 else 1
        for left in reversed(range(tries)):
            try:
                return _score(model, rows)
            except Exception as exc:
                if not is_out_of_memory(exc):
                    raise
                if not left:
                    raise OutOfMemory(
                        f"{len(rows)} x {rows.padded_tokens // len(rows)} tokens did not fit, {tries} tries"
                    ) from exc.with_traceback(None)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._sleep(self._memory_wait_s)
        raise AssertionError("unreachable: the last try returns or raises")


def is_out_of_memory(exc: Exception) -> bool:
    """Tell a full memory from other failures; on the CPU torch says it in words only."""
    return isinstance(exc, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(exc)


def _score(model: ScoringModel, rows: Batch) -> NDArray[np.float32]:
    outputs: NDArray[np.float32] = model.score(rows).float().cpu().numpy()
    if outputs.shape != (len(rows), 2):
        raise ModelOutputError(f"model {model.version} returned {outputs.shape} for {len(rows)} texts")
    return outputs


def _probe(model: ScoringModel, cause: Exception | None) -> None:
    """Score the known-good text; raise DeviceError if that fails or is not finite."""
    try:
        outputs = _score(model, model.pack([model.probe]))
    except Exception as exc:
        raise DeviceError(
            f"a known-good text fails on {model.device} with model {model.version}: {exc!r}; "
            f"the first failure was {cause!r}"
        ) from exc
    if not np.isfinite(outputs).all():
        raise DeviceError(
            f"a known-good text gives NaN or infinity on {model.device} with model {model.version}"
        ) from cause
