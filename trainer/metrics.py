"""Prometheus metrics of a trainer. Each service has one instance with its own registry."""

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
    """The metrics of one trainer service. All methods are thread-safe.

    now_s: the wall clock, seconds since 1970. monotonic_s: a monotonic clock, in seconds.
    """

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
            "Requests completed, by result",
            ["result"],
            registry=registry,
        )
        self.retries = Counter(
            "sway_trainer_retries",
            "Failed tries of a request that were followed by another",
            registry=registry,
        )
        self.phase = Gauge(
            "sway_trainer_phase", "1 for the current phase, 0 for the others", ["phase"], registry=registry
        )
        self.phase_age_s = Gauge(
            "sway_trainer_phase_age_seconds", "How long the current phase has lasted", registry=registry
        )
        self.phase_s = Counter(
            "sway_trainer_phase_seconds", "Time spent in each phase", ["phase"], registry=registry
        )
        self.last_success_s = Gauge(
            "sway_trainer_last_success_timestamp_seconds",
            "When a request was last promoted or rejected on its merits, in seconds since 1970; 0 before the first",
            registry=registry,
        )
        self.owner = Gauge(
            "sway_trainer_owner",
            "1 if this trainer handles the requests, 0 if it is on standby",
            registry=registry,
        )
        self.ready = Gauge(
            "sway_trainer_ready", "1 if the trainer handles requests or is on standby", registry=registry
        )
        for result in RESULTS:
            self.requests.labels(result)
        for phase in PHASES:
            self.phase_s.labels(phase)
            self.phase.labels(phase).set(phase == self._phase)

    def enter(self, phase: str) -> None:
        """Start a phase, unless it is the current one. Raises ValueError for a name that is not in PHASES."""
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
        """Count a completed request or an undecodable record. result: one of RESULTS."""
        self.requests.labels(result).inc()
        if result in _SUCCESSES:
            self.last_success_s.set(self._now_s())

    def on_retry(self) -> None:
        """Count a failed try."""
        self.retries.inc()

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        with self._lock:
            self._count()
            self.phase_age_s.set(self._counted_s - self._began_s)
        return generate_latest(self.registry)

    def _count(self) -> None:
        """Add the time since the last call to the current phase."""
        now_s = self._monotonic_s()
        self.phase_s.labels(self._phase).inc(now_s - self._counted_s)
        self._counted_s = now_s


def phase_of(stage: str) -> str | None:
    """Return the phase of a stage of trainer.progress; None if the stage does not change the phase."""
    if stage.endswith("fine-tuning"):
        return "fine_tuning"
    phase = _PHASE_OF_STAGE.get(stage, stage)
    return phase if phase in PHASES else None
