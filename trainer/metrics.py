"""What operators watch of a trainer, in Prometheus' text format. One instance a service, with a registry of its own."""

import threading
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

PHASES = (
    "waiting",
    "reading",
    "features",
    "heads",
    "pretraining",
    "fine_tuning",
    "publishing",
    "judging",
    "announcing",
    "retrying",
)
RESULTS = ("promoted", "rejected", "given_up", "undecodable")
_SUCCESSES = RESULTS[:2]

_PHASE_OF_STAGE = {
    "targets": "features",
    "texts": "features",
    "valid texts": "features",
    "behaviour texts": "features",
    "snapshots": "features",
    "fetching the champion": "reading",
    "promoting": "judging",
    "rejecting": "judging",
}


class TrainerMetrics:
    """Safe to call from any thread. now_s, monotonic_s: the wall clock and one that never jumps, in seconds."""

    def __init__(
        self,
        *,
        now_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._phase = PHASES[0]
        self._began_s = self._counted_s = monotonic_s()
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "sway_trainer_requests",
            "Requests that came to their end, by result",
            ["result"],
            registry=registry,
        )
        self.retries = Counter(
            "sway_trainer_retries",
            "Tries of a request that failed and were followed by another",
            registry=registry,
        )
        self.phase = Gauge("sway_trainer_phase", "1 for what is being done", ["phase"], registry=registry)
        self.phase_age_s = Gauge(
            "sway_trainer_phase_age_seconds", "How long the current phase has lasted", registry=registry
        )
        self.phase_s = Counter(
            "sway_trainer_phase_seconds", "Time spent in each phase", ["phase"], registry=registry
        )
        self.last_success_s = Gauge(
            "sway_trainer_last_success_timestamp_seconds",
            "When a request was last promoted or rejected by what it is, in seconds since 1970; 0 before the first",
            registry=registry,
        )
        self.owner = Gauge(
            "sway_trainer_owner", "1 if this trainer takes the requests, 0 if it stands by", registry=registry
        )
        self.ready = Gauge(
            "sway_trainer_ready", "1 if requests are taken, or it stands by", registry=registry
        )
        for result in RESULTS:
            self.requests.labels(result)
        for phase in PHASES:
            self.phase_s.labels(phase)
            self.phase.labels(phase).set(phase == self._phase)

    def enter(self, phase: str) -> None:
        """Note that another phase begins; the same one goes on. Raises ValueError for one that is not in PHASES."""
        if phase not in PHASES:
            raise ValueError(f"phase={phase!r} must be one of {', '.join(PHASES)}")
        with self._lock:
            if phase == self._phase:
                return
            self._count()
            self.phase.labels(self._phase).set(0)
            self.phase.labels(phase).set(1)
            self._phase, self._began_s = phase, self._counted_s

    def on_result(self, result: str) -> None:
        """Count a request, or a record that is none; result: one of RESULTS."""
        self.requests.labels(result).inc()
        if result in _SUCCESSES:
            self.last_success_s.set(self._now_s())

    def on_retry(self) -> None:
        """Count a try that failed."""
        self.retries.inc()

    def render(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        with self._lock:
            self._count()
            self.phase_age_s.set(self._counted_s - self._began_s)
        return generate_latest(self.registry)

    def _count(self) -> None:
        """Add the time since it was last counted to the current phase."""
        now_s = self._monotonic_s()
        self.phase_s.labels(self._phase).inc(now_s - self._counted_s)
        self._counted_s = now_s


def phase_of(stage: str) -> str | None:
    """Return the phase that a stage of trainer.progress belongs to; None for one that is none of its own."""
    if stage.endswith("fine-tuning"):
        return "fine_tuning"
    phase = _PHASE_OF_STAGE.get(stage, stage)
    return phase if phase in PHASES else None
