"""Follows the registry: fetches, checks, loads and warms up each new champion while the current model serves.

Runs on its own thread; the event loop and the model in use only receive the result. A version that cannot be used is
refused: the current model continues to serve, and an alarm is set until a champion is in use.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from model.errors import (
    DeviceError,
    ModelCorrupt,
    ModelError,
    ModelIncompatible,
    ModelMissing,
    TokenizerIncompatible,
)
from model.forward import is_out_of_memory
from model.late_model import LateModel
from model.loading import Model
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer

logger = logging.getLogger(__name__)

Load = Callable[[str, BehaviourTokenizer], Model]
"""Fetches, verifies and loads a version; reuses the tokenizer if the version tokenizes in the same way."""

RETRY_PAUSE_S = 60.0
FILL_S = 30.0
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (ModelMissing, "missing"),
    (ModelCorrupt, "corrupt"),
    (ModelIncompatible, "incompatible"),
    (TokenizerIncompatible, "tokenizer"),
    (DeviceError, "not_finite"),
)
_STORAGE_LIBRARIES = frozenset({"botocore", "aiobotocore", "aiohttp", "gcsfs", "requests"})


class ChampionMetrics(Protocol):
    """The metrics that the watcher reports; implemented by stream.worker.metrics.WorkerMetrics."""

    def on_swap(self, model: Model, seconds: float) -> None:
        """Called when a new champion takes over. seconds: from seeing its promotion to being ready."""
        ...

    def on_refused(self, reason: str) -> None:
        """Called when a promoted version cannot be used."""
        ...

    def alarm(self, on: bool) -> None:
        """Set the alarm: the model in use is not the champion, or the champion is unknown."""
        ...


@dataclass(slots=True)
class _Failure:
    """The current failure. promotion: its number; None if the registry itself cannot be read."""

    promotion: int | None
    reason: str
    pause_s: float
    retry_at_s: float


class ChampionWatcher:
    """Loads each new champion and offers it once it is known to work.

    current: the model in use at the start. offer: takes a warmed-up model; called on the watcher's thread.
    retry_pause_s: pause before a refused promotion is retried; storage errors are retried sooner, in pauses that double
    up to this value.
    fill_s: time limit for computing the vectors of the texts that the previous late model used most recently.
    clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        current: Model,
        load: Load,
        offer: Callable[[Model], None],
        metrics: ChampionMetrics,
        *,
        poll_interval_s: float,
        retry_pause_s: float = RETRY_PAUSE_S,
        fill_s: float = FILL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._version = current.version
        self._tokenizer = current.tokenizer
        self._serving = weakref.ref(current)  # weak, so that the watcher does not keep the model alive
        self._load = load
        self._offer = offer
        self._metrics = metrics
        self._poll_interval_s = poll_interval_s
        self._retry_pause_s = retry_pause_s
        self._fill_s = fill_s
        self._clock = clock
        self._failure: _Failure | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sway-champion", daemon=True)

    @property
    def version(self) -> str:
        """The version offered last, or the one in use at the start."""
        return self._version

    def start(self) -> None:
        """Start polling."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to stop; a model that is being loaded is no longer offered."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._poll_interval_s):
            self.poll()

    def poll(self) -> None:
        """Check the registry once. Never raises: after any failure the current model continues to serve."""
        promotion: int | None = None
        try:
            promotion = self._newest()
            if not self._in_retry_pause(promotion):
                self._follow(promotion)
        except Exception as exc:  # an artefact or a file system can fail with any exception
            self._refuse(promotion, exc)

    def _newest(self) -> int:
        numbers = self._registry.promotions()
        if not numbers:  # there was one when the worker started
            raise ModelMissing("the registry no longer has promotions")
        return numbers[-1]

    def _in_retry_pause(self, promotion: int) -> bool:
        """Return whether this promotion was refused recently and is not due for a retry."""
        failure = self._failure
        return failure is not None and failure.promotion == promotion and self._clock() < failure.retry_at_s

    def _follow(self, promotion: int) -> None:
        began_s = self._clock()
        version = self._registry.promotion(promotion).version
        if version != self._version:
            model = self._ready_model(version)
            if self._stopping.is_set():
                return
            self._offer(model)
            self._version, self._tokenizer, self._serving = version, model.tokenizer, weakref.ref(model)
            seconds = self._clock() - began_s
            self._metrics.on_swap(model, seconds)
            logger.info("Promotion %d: model %s takes over, ready after %.1f s", promotion, version, seconds)
        elif self._failure is not None:
            logger.info("The registry's champion is %s, which is in use", version)
        self._failure = None
        self._metrics.alarm(False)

    def _ready_model(self, version: str) -> Model:
        """Return the version, loaded and warmed up. Raises ModelIncompatible if its architecture cannot run."""
        try:
            model = self._load(version, self._tokenizer)
            model.warm_up()
            self._fill(model)
        except ModelError:
            raise
        except Exception as exc:
            if _is_io(exc) or is_out_of_memory(exc):
                raise
            raise ModelIncompatible(f"cannot run version {version}: {exc!r}") from exc
        return model

    def _fill(self, model: Model) -> None:
        """Compute the vectors that the model will need first, so that the texts after the swap are not delayed."""
        serving = self._serving()
        if isinstance(model, LateModel) and isinstance(serving, LateModel):
            filled = model.fill_from(serving, seconds=self._fill_s, stop=self._stopping.is_set)
            logger.info("Model %s starts with the vectors of %d texts", model.version, filled)

    def _refuse(self, promotion: int | None, exc: Exception) -> None:
        """Keep the current model, and log once per promotion and reason."""
        reason = reason_of(exc)
        before = self._failure
        is_new = before is None or (before.promotion, before.reason) != (promotion, reason)
        pause_s = self._retry_pause_s
        if reason == "storage":
            pause_s = min(pause_s, self._poll_interval_s if is_new or before is None else 2 * before.pause_s)
        self._failure = _Failure(promotion, reason, pause_s, self._clock() + pause_s)
        self._metrics.alarm(True)
        if not is_new:
            return
        if reason != "storage":
            self._metrics.on_refused(reason)
        what = "The registry" if promotion is None else f"Promotion {promotion}"
        logger.error(
            "%s cannot be followed (%s); model %s stays in use: %s",
            what,
            reason,
            self._version,
            exc,
            exc_info=exc if reason in {"failed", "incompatible"} else None,
        )


def reason_of(exc: Exception) -> str:
    """Return why a champion is not in use, as a metric label.

    storage: it could not be read; may be temporary. failed: an internal error. All others are faults of the artefact.
    """
    cause = exc.__cause__ if isinstance(exc, ModelCorrupt) else None  # set if a promotion could not be read
    if _is_io(exc) or _is_io(cause):
        return "storage"
    for kind, reason in _REASONS:
        if isinstance(exc, kind):
            return reason
    return "memory" if is_out_of_memory(exc) else "failed"


def _is_io(exc: BaseException | None) -> bool:
    """Return whether an error comes from storage and not from a missing artefact; botocore's are not OSErrors."""
    foreign = type(exc).__module__.split(".")[0] in _STORAGE_LIBRARIES
    return foreign or (isinstance(exc, OSError) and not isinstance(exc, FileNotFoundError))
