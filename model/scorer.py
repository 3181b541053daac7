"""The micro-batcher: scoring of texts from many callers in shared batches.

It has two threads, connected by a channel of capacity one:

    submit() ──▶ waiting texts ──▶ packer: chooses and pads the next batch
                                      │ channel of one
                                      ▼
                                   forward: one pass at a time ──▶ each group's future

The next batch is therefore ready when a pass ends. Every future gets scores or an error, also after close().

Source: text-embeddings-inference (the channel of one).
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Self

import torch

from model.errors import BatcherClosed, DeviceError
from model.forward import Batch, ForwardPass, ScoringModel
from model.jobs import Job
from model.packing import PackingSettings, wait_s
from model.waiting import Entry, Group, ScoredTexts, WaitingTexts

__all__ = ["BatchStats", "MicroBatcher", "ScoredTexts"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchStats:
    """Statistics of one batch.

    tokens: without padding. fill: tokens / max_batch_tokens. queue_s: time from submission of the oldest text to the
    start of the pass. pack_s: time for choosing and padding. forward_s: time of the pass, retries included.
    passes: number of forward passes, 1 unless something failed. waiting_rows: texts still waiting.
    """

    model_version: str
    rows: int
    tokens: int
    padded_tokens: int
    fill: float
    queue_s: float
    pack_s: float
    forward_s: float
    passes: int
    failed: int
    waiting_rows: int


@dataclass(slots=True)
class _Packed:
    entries: list[Entry]
    batch: Batch
    tokens: int
    pack_s: float


class MicroBatcher:
    """Scores texts in padded micro-batches on its own threads. Thread-safe.

    model: the default model of submit(); use() replaces it between two batches.
    on_batch: called on the forward thread after every batch; it must return quickly.
    threads: number of torch threads of a pass on a CPU; None means all cores.
    clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        model: ScoringModel,
        settings: PackingSettings | None = None,
        *,
        on_batch: Callable[[BatchStats], None] | None = None,
        threads: int | None = None,
        forward: ForwardPass | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or PackingSettings()
        self._model = model
        self._on_batch = on_batch
        self._torch_threads = threads
        self._forward = forward or ForwardPass()
        self._clock = clock
        # Guards all attributes below.
        self._changed = threading.Condition()
        self._waiting = WaitingTexts()
        # Groups with a pending future, by number.
        self._live: dict[int, Group] = {}
        self._slot: _Packed | None = None
        self._submitted = 0
        self._busy = False
        self._closing = False
        self._dropping = False
        self._packer_done = False
        self._broken: Exception | None = None
        self._workers = [
            threading.Thread(target=self._guard, args=(loop,), name=name, daemon=True)
            for loop, name in ((self._pack_loop, "sway-pack"), (self._forward_loop, "sway-forward"))
        ]
        for worker in self._workers:
            worker.start()

    @property
    def model(self) -> ScoringModel:
        """The default model."""
        return self._model

    @property
    def broken(self) -> Exception | None:
        """The error that made the micro-batcher unusable, or None."""
        return self._broken

    @property
    def waiting_rows(self) -> int:
        """The number of texts not yet packed, including cancelled ones that were not yet skipped."""
        return self._waiting.rows

    def use(self, model: ScoringModel) -> None:
        """Set the default model for future submissions. Waiting texts keep the model that they were submitted with."""
        self._model = model

    def submit(self, texts: Sequence[Job], model: ScoringModel | None = None) -> "Future[ScoredTexts]":
        """Queue a group of texts; return one future for all of them, with scores in the order of the texts.

        texts: jobs of the type that the model scores. Cancelling the future removes them from the queue. A text that
        cannot be scored is listed in ScoredTexts.failed and does not affect the other texts of its group.
        Raises BatcherClosed after close(), DeviceError once the device is broken; pending futures then raise it too.
        """
        future: Future[ScoredTexts] = Future()
        with self._changed:
            self._refuse_if_over()
            self._submitted += 1
            group = Group(texts, model or self._model, self._clock(), self._submitted, future)
            if texts:
                self._live[group.number] = group
                self._waiting.add(group)
                self._changed.notify_all()
        if not texts:
            group.finish()
        # A callback that refers to the group would be a reference cycle and keep its model alive.
        number = group.number
        future.add_done_callback(lambda _: self._live.pop(number, None))
        return future

    def close(self, *, drop: bool = False, timeout_s: float | None = None) -> None:
        """Reject new texts, score the waiting ones and end the threads.

        drop: fail the waiting texts with BatcherClosed instead of scoring them.
        timeout_s: time limit for joining each thread; None waits without limit.
        """
        with self._changed:
            self._closing = True
            if drop:
                self._dropping = True
                self._slot = None
                self._waiting.clear()
            self._changed.notify_all()
        if drop:
            self._fail_all(BatcherClosed("the micro-batcher was closed before these texts were scored"))
        for worker in self._workers:
            worker.join(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close(drop=exc[0] is not None)

    def _refuse_if_over(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._closing:
            raise BatcherClosed("the micro-batcher is closed and accepts no more texts")

    def _guard(self, loop: Callable[[], None]) -> None:
        """Run a thread's loop. An exception fails all pending futures, so that no caller waits forever."""
        try:
            loop()
        except Exception as exc:
            error = exc if isinstance(exc, DeviceError) else DeviceError(f"the micro-batcher failed: {exc!r}")
            error.__cause__ = error.__cause__ or (exc if error is not exc else None)
            with self._changed:
                self._broken = error
                self._waiting.clear()
                self._slot = None
                self._packer_done = True
                self._changed.notify_all()
            self._fail_all(error)

    def _fail_all(self, error: Exception) -> None:
        for group in list(self._live.values()):
            group.fail(error)

    # The packer's thread

    def _pack_loop(self) -> None:
        while (taken := self._next_entries()) is not None:
            entries, began_s = taken
            packed = self._pack(entries, began_s)
            with self._changed:
                # close(drop=True) may have been called in the meantime.
                if not self._dropping:
                    self._slot = packed
                self._changed.notify_all()
            # While the thread waits, these references must not keep a replaced model alive.
            del taken, entries, packed
        with self._changed:
            self._packer_done = True
            self._changed.notify_all()

    def _next_entries(self) -> tuple[list[Entry], float] | None:
        """Wait until a batch is due and return it with the current time; None when there will be no more."""
        with self._changed:
            while self._broken is None:
                oldest = self._waiting.oldest()
                if oldest is None and self._closing:
                    return None
                delay: float | None = None
                if oldest is not None and self._slot is None:
                    now_s = self._clock()
                    delay = wait_s(
                        waiting_rows=self._waiting.rows,
                        waiting_tokens=self._waiting.tokens,
                        oldest_waited_s=now_s - oldest.submitted_s,
                        busy=self._busy,
                        settings=self.settings,
                    )
                    if delay == 0:
                        return self._waiting.take(self.settings), now_s
                self._changed.wait(delay)
        return None

    def _pack(self, entries: list[Entry], began_s: float) -> _Packed:
        model = entries[0][0].model
        texts = [group.texts[position] for group, position in entries]
        batch: Batch = model.pack(texts, multiple=self.settings.multiple)
        if model.device.type == "cuda":
            batch = batch.pinned()
        return _Packed(entries, batch, sum(text.tokens for text in texts), self._clock() - began_s)

    # The forward thread

    def _forward_loop(self) -> None:
        if self._torch_threads is not None:
            torch.set_num_threads(self._torch_threads)
        while (packed := self._next_packed()) is not None:
            self._run(packed)
            # As in _pack_loop.
            del packed
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next_packed(self) -> _Packed | None:
        with self._changed:
            while self._slot is None:
                if self._packer_done:
                    return None
                self._changed.wait()
            packed, self._slot = self._slot, None
            self._busy = True
            self._changed.notify_all()
            return packed

    def _run(self, packed: _Packed) -> None:
        """Score a packed batch and complete the futures of finished groups."""
        began_s = self._clock()
        wanted = [row for row, (group, _) in enumerate(packed.entries) if not group.future.done()]
        if not wanted:
            return
        batch = packed.batch
        # A group may have been cancelled after packing.
        if len(wanted) < len(packed.entries):
            batch = batch.select(wanted)
        entries = [packed.entries[row] for row in wanted]
        model = entries[0][0].model
        scores = self._forward.run(model, batch)
        ended_s = self._clock()
        for row, (group, position) in enumerate(entries):
            group.outputs[position] = scores.outputs[row]
            if row in scores.failed:
                group.failed[position] = scores.failed[row]
            group.remaining -= 1
            if not group.remaining:
                group.finish()
        if self._on_batch is not None:
            stats = BatchStats(
                model_version=model.version,
                rows=len(batch),
                tokens=packed.tokens,
                padded_tokens=batch.padded_tokens,
                fill=packed.tokens / self.settings.max_batch_tokens,
                queue_s=began_s - min(group.submitted_s for group, _ in entries),
                pack_s=packed.pack_s,
                forward_s=ended_s - began_s,
                passes=scores.passes,
                failed=len(scores.failed),
                waiting_rows=self._waiting.rows,
            )
            self._report(stats)

    def _report(self, stats: BatchStats) -> None:
        try:
            if self._on_batch is not None:
                self._on_batch(stats)
        except Exception:
            log.exception("The micro-batcher's on_batch callback failed; scoring continues")
