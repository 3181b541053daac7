"""Follows the registry: a new champion is fetched, checked, loaded and warmed beside the one that serves.

On a thread of its own; the event loop and the model at work only meet the result. What cannot be used is refused,
the old model serves on, and an alarm stands until a champion is in.
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
"""Fetches, verifies and loads a version; shares the tokenizer if the version reads texts in the same way."""

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
    """What the watcher reports; stream.worker.metrics.WorkerMetrics is one."""

    def on_swap(self, model: Model, seconds: float) -> None:
        """A new champion was handed over so many seconds after its promotion was seen."""
        ...

    def on_refused(self, reason: str) -> None:
        """A promoted version cannot be used."""
        ...

    def alarm(self, on: bool) -> None:
        """Whether the model that serves is not the champion, or nobody knows."""
        ...


@dataclass(slots=True)
class _Trouble:
    """What is wrong now. promotion: its number, None if the registry itself cannot be read."""

    promotion: int | None
    reason: str
    pause_s: float
    retry_at_s: float


class ChampionWatcher:
    """Offers each new champion once it is known to work.

    current: the model that serves at the start. offer: takes a warm model; called on the watcher's thread.
    retry_pause_s: until a refused promotion is tried again; a storage that fails is tried sooner, in pauses that
    double up to this.
    fill_s: how long a model of the late reading may make the vectors of the texts that the one before it used last.
    clock: monotonic seconds.
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
        self._serving = weakref.ref(current)  # it is not kept alive from here
        self._load = load
        self._offer = offer
        self._metrics = metrics
        self._poll_interval_s = poll_interval_s
        self._retry_pause_s = retry_pause_s
        self._fill_s = fill_s
        self._clock = clock
        self._trouble: _Trouble | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sway-champion", daemon=True)

    @property
    def version(self) -> str:
        """The version that was offered last, or served at the start."""
        return self._version

    def start(self) -> None:
        """Start polling."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; a model that is being loaded is not offered any more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._poll_interval_s):
            self.poll()

    def poll(self) -> None:
        """Look once; never raises: whatever is wrong, the model that serves goes on."""
        promotion: int | None = None
        try:
            promotion = self._newest()
            if not self._waits(promotion):
                self._follow(promotion)
        except Exception as exc:  # an artefact can fail in any way, and so can a file system
            self._refuse(promotion, exc)

    def _newest(self) -> int:
        numbers = self._registry.promotions()
        if not numbers:  # there was one when the worker started
            raise ModelMissing("the registry has no promotions any more")
        return numbers[-1]

    def _waits(self, promotion: int) -> bool:
        """Whether this promotion was refused a short while ago."""
        trouble = self._trouble
        return trouble is not None and trouble.promotion == promotion and self._clock() < trouble.retry_at_s

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
        elif self._trouble is not None:
            logger.info("The registry's champion is %s, which serves", version)
        self._trouble = None
        self._metrics.alarm(False)

    def _ready_model(self, version: str) -> Model:
        """Return the version, loaded and warm; what a foreign architecture raises on the way is ModelIncompatible."""
        try:
            model = self._load(version, self._tokenizer)
            model.warm_up()
            self._fill(model)
        except ModelError:
            raise
        except Exception as exc:
            if _is_io(exc) or is_out_of_memory(exc):
                raise
            raise ModelIncompatible(f"version {version} cannot be run: {exc!r}") from exc
        return model

    def _fill(self, model: Model) -> None:
        """Make the vectors that the model will need first, so that the swap does not hold up the texts after it."""
        serving = self._serving()
        if isinstance(model, LateModel) and isinstance(serving, LateModel):
            filled = model.fill_from(serving, seconds=self._fill_s, stop=self._stopping.is_set)
            logger.info("Model %s begins with the vectors of %d texts", model.version, filled)

    def _refuse(self, promotion: int | None, exc: Exception) -> None:
        """Keep the old model, and say so once a promotion and reason."""
        reason = reason_of(exc)
        before = self._trouble
        is_new = before is None or (before.promotion, before.reason) != (promotion, reason)
        pause_s = self._retry_pause_s
        if reason == "storage":
            pause_s = min(pause_s, self._poll_interval_s if is_new or before is None else 2 * before.pause_s)
        self._trouble = _Trouble(promotion, reason, pause_s, self._clock() + pause_s)
        self._metrics.alarm(True)
        if not is_new:
            return
        if reason != "storage":
            self._metrics.on_refused(reason)
        what = "The registry" if promotion is None else f"Promotion {promotion}"
        logger.error(
            "%s cannot be followed (%s); model %s serves on: %s",
            what,
            reason,
            self._version,
            exc,
            exc_info=exc if reason in {"failed", "incompatible"} else None,
        )


def reason_of(exc: Exception) -> str:
    """Name why a champion is not in use, as the metric's label.

    storage: it could not be read and perhaps can be soon. failed: our own fault. The others are the artefact's.
    """
    cause = exc.__cause__ if isinstance(exc, ModelCorrupt) else None  # a promotion that could not be read
    if _is_io(exc) or _is_io(cause):
        return "storage"
    for kind, reason in _REASONS:
        if isinstance(exc, kind):
            return reason
    return "memory" if is_out_of_memory(exc) else "failed"


def _is_io(exc: BaseException | None) -> bool:
    """Tell a storage that fails from an artefact that is not there; botocore's errors are not OSErrors."""
    foreign = type(exc).__module__.split(".")[0] in _STORAGE_LIBRARIES
    return foreign or (isinstance(exc, OSError) and not isinstance(exc, FileNotFoundError))
