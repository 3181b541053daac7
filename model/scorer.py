"""The micro-batcher: many waiters, one model, batches packed across them.

Two threads with a channel of one between them:

    submit() ──▶ waiting texts ──▶ packer: chooses and pads the next batch
                                      │ channel of one
                                      ▼
                                   forward: one pass at a time ──▶ each group's future

so the next batch is ready when a pass ends. Every waiter gets scores or an error, on close() as well.

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
    """One batch, for the metrics.

    tokens: without padding; fill: tokens over max_batch_tokens. queue_s: how long its oldest text waited
    until the pass began. pack_s, forward_s: choosing and padding; the pass, retries included.
    passes: 1 unless something failed. waiting_rows: texts still waiting.
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
    """Scores texts in padded micro-batches on threads of its own. Safe to share between threads.

    model: used where submit() names none; use() swaps it between two batches.
    on_batch: called on the forward thread after every batch; must be quick.
    threads: torch's threads within one pass on a CPU; None means all cores.
    clock: monotonic seconds.
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
        self._changed = threading.Condition()  # guards everything below
        self._waiting = WaitingTexts()
        self._live: dict[int, Group] = {}  # every group whose waiter has nothing yet, by number
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
        """The model that scores what names none."""
        return self._model

    @property
    def broken(self) -> Exception | None:
        """Why nothing can be scored any more; None while all is well."""
        return self._broken

    @property
    def waiting_rows(self) -> int:
        """Texts that are not yet packed, cancelled ones included until they are passed over."""
        return self._waiting.rows

    def use(self, model: ScoringModel) -> None:
        """Score what is submitted from now on with this model; what waits keeps the one it came with."""
        self._model = model

    def submit(self, texts: Sequence[Job], model: ScoringModel | None = None) -> "Future[ScoredTexts]":
        """Queue a group of texts; one future for all of them, its scores in their order.

        The texts are of the kind that the model scores. Cancelling the future takes them out of the queue. A text that
        cannot be scored is named in ScoredTexts.failed; the others of its group are scored all the same.
        Raises BatcherClosed after close(); DeviceError, as every future does, once the device is broken.
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
        number = (
            group.number
        )  # a callback with the group would be a cycle, and keep its model until it is collected
        future.add_done_callback(lambda _: self._live.pop(number, None))
        return future

    def close(self, *, drop: bool = False, timeout_s: float | None = None) -> None:
        """Stop taking texts, score what waits (or, with drop, fail it with BatcherClosed), end the threads.

        timeout_s: for each thread; None waits until it ends.
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
            raise BatcherClosed("the micro-batcher is closed and takes no more texts")

    def _guard(self, loop: Callable[[], None]) -> None:
        """Run a thread's loop; whatever ends it early breaks the batcher, so that no waiter waits for ever."""
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
                if not self._dropping:  # close(drop=True) may have come in between
                    self._slot = packed
                self._changed.notify_all()
            del taken, entries, packed  # while this waits, nothing keeps a model alive that was swapped out
        with self._changed:
            self._packer_done = True
            self._changed.notify_all()

    def _next_entries(self) -> tuple[list[Entry], float] | None:
        """Wait until a batch is due and take it; None when there will be no more."""
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
            del packed  # as in _pack_loop
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
        """Score a packed batch and hand out what became complete by it."""
        began_s = self._clock()
        wanted = [row for row, (group, _) in enumerate(packed.entries) if not group.future.done()]
        if not wanted:
            return
        batch = packed.batch
        if len(wanted) < len(packed.entries):  # a group was cancelled since
            batch = batch.select(wanted)
        entries = [packed.entries[row] for row in wanted]
        model = entries[0][0].model
        scores = self._forward.run(model, batch)
        ended_s = self._clock()
        for row, (group, position) in enumerate(entries):
            group.outputs[position] = scores.outputs[row]
            if row in scores.failed:
                group.failed[position] = scores.failed[row]
            group.left -= 1
            if not group.left:
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
            log.exception("the micro-batcher's on_batch callback failed; scoring goes on")
