"""A forward pass that tolerates bad texts and out-of-memory errors, and distinguishes them from a broken device.

On an out-of-memory error, the batch is halved and retried; a single text waits and is retried. On any other failure, a
known-good text is scored first. If it fails too, the device is broken; otherwise the batch is halved until the bad
texts are isolated.
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
    """Packed texts: TextBatch or LateBatch."""

    def __len__(self) -> int: ...
    @property
    def padded_tokens(self) -> int:
        """The number of tokens that a pass processes, padding included."""
        ...

    def pinned(self) -> Self:
        """Copy into page-locked memory, which a GPU reads without the CPU."""
        ...

    def rows(self, start: int, stop: int) -> Self:
        """Return a slice of the rows; its scores do not depend on the other rows."""
        ...

    def select(self, rows: Sequence[int]) -> Self:
        """Return the given rows."""
        ...


class ScoringModel(Protocol):
    """The model interface of the micro-batcher, implemented by LoadedModel and LateModel.

    Each model has its own types of jobs and batches: score() accepts only batches from the model's own pack().
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
        """Return a Batch of N >= 1 texts. multiple: rows are padded to a multiple of so many tokens."""
        ...

    def score(self, batch: Any) -> Tensor:
        """Return y_hat and z_hat, float32 (N, 2), of a Batch from pack()."""
        ...


@dataclass(frozen=True, slots=True)
class BatchScores:
    """The result of scoring a batch.

    outputs: float32 (N, 2); NaN in failed rows. failed: errors by row.
    passes: the number of forward passes; 1 if nothing failed.
    """

    outputs: NDArray[np.float32]
    failed: dict[int, Exception]
    passes: int


class ForwardPass:
    """Scoring of batches with retries on out-of-memory errors.

    memory_tries: the number of attempts for a single text. memory_wait_s: seconds between two of them.
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
        """Score every row; errors are returned per row.

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
            # A model may raise anything; the probe tells a bad text from a broken device.
            except Exception as exc:
                if len(rows) == 1 or not isinstance(exc, OutOfMemory):
                    _probe(model, exc)
                if len(rows) == 1:
                    # The frames of the traceback would keep the batch in memory.
                    failed[rows.start] = exc.with_traceback(None)
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
                # Another row may have caused it: score each of these rows again, alone.
                todo += [range(row, row + 1) for row in bad]
        return BatchScores(outputs, failed, passes)

    def _attempt(self, model: ScoringModel, rows: Batch) -> NDArray[np.float32]:
        """Score rows in one pass; a single row waits for memory and is retried."""
        tries = self._memory_tries if len(rows) == 1 else 1
        for left in reversed(range(tries)):
            try:
                return _score(model, rows)
            except Exception as exc:
                if not is_out_of_memory(exc):
                    raise
                if not left:
                    raise OutOfMemory(
                        f"{len(rows)} x {rows.padded_tokens // len(rows)} tokens did not fit in memory, "
                        f"{tries} tries"
                    ) from exc.with_traceback(None)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._sleep(self._memory_wait_s)
        raise AssertionError("unreachable: the last attempt returns or raises")


def is_out_of_memory(exc: Exception) -> bool:
    """Return whether an error means out of memory; on the CPU, torch reports it only in the message."""
    return isinstance(exc, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(exc)


def _score(model: ScoringModel, rows: Batch) -> NDArray[np.float32]:
    outputs: NDArray[np.float32] = model.score(rows).float().cpu().numpy()
    if outputs.shape != (len(rows), 2):
        raise ModelOutputError(f"model {model.version} returned {outputs.shape} for {len(rows)} texts")
    return outputs


def _probe(model: ScoringModel, cause: Exception | None) -> None:
    """Score the known-good text; raise DeviceError if it fails or its scores are not finite."""
    try:
        outputs = _score(model, model.pack([model.probe]))
    except Exception as exc:
        raise DeviceError(
            f"a known-good text failed on {model.device} with model {model.version}: {exc!r}; "
            f"the first failure was {cause!r}"
        ) from exc
    if not np.isfinite(outputs).all():
        raise DeviceError(
            f"model {model.version} returned NaN or infinity for a known-good text on {model.device}"
        ) from cause
