"""The worker's metrics in Prometheus text format. One instance and one registry per worker."""

import time
import weakref
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from model.late_model import LateModel
from model.loading import Model
from model.scorer import BatchStats
from stream.exactly_once import Unit
from stream.exactly_once.driver.engine import EngineStats
from stream.exactly_once.units.lag import Lag
from stream.exactly_once.units.records import TopicPartition
from stream.scoring.batch import contexts
from stream.scoring.counts import EVENTS, LABEL_WITHOUT_SCORE, SCORES, TICKS, label_from
from stream.worker.live_quality import LiveQuality

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_OUTCOME_RESULTS = ("joined", "parked", "repeated", "late", "without_event", "unlabeled")
_LABEL_SOURCES = ("outcome", "attribution", "expiry")
_LIVE = {
    "auc": "Area under the ROC curve",
    "mse": "Mean squared error of y_hat",
    "log_loss": "Log-loss in nats",
    "calibration_error": "Expected calibration error",
    "positive_rate": "Share of labels that are positive",
    "examples": "Examples labelled since the worker's start",
}

_FILL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class WorkerMetrics:
    """Counters increase when a unit is committed, so that dropped records that are read again count once."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._late: weakref.ref[LateModel] | None = None
        self.events = Counter("sway_events", "Events read and committed", registry=registry)
        self.scores = Counter("sway_scores", "Scores committed", registry=registry)
        self.dead_letters = Counter(
            "sway_dead_letters", "Dead letters, by reason", ["reason"], registry=registry
        )
        self.outcomes = Counter("sway_outcomes", "Outcomes, by result", ["result"], registry=registry)
        self.labels = Counter(
            "sway_labels", "Examples, by the source of their label", ["source"], registry=registry
        )
        self.labels_without_score = Counter(
            "sway_labels_without_score", "Labels of events whose text was a dead letter", registry=registry
        )
        self.ticks = Counter("sway_ticks", "Ticks read and committed", registry=registry)
        self.quality = LiveQuality()
        self._live_versions: set[str] = set()
        self.live = {
            name: Gauge(
                f"sway_live_{name}", f"{words}, of the newest labelled scores", ["version"], registry=registry
            )
            for name, words in _LIVE.items()
        }
        self.lag = Gauge(
            "sway_lag_records", "Stable offsets not fetched yet", ["topic", "partition"], registry=registry
        )
        self.lag_to_end = Gauge(
            "sway_lag_high_watermark_records",
            "Offsets not fetched yet, including open transactions and records behind them",
            ["topic", "partition"],
            registry=registry,
        )
        self.open_transaction_s = Gauge(
            "sway_open_transaction_seconds",
            "Seconds for which a transaction of another producer has been observed open, a lower bound; 0 if none",
            ["topic", "partition"],
            registry=registry,
        )
        self.in_flight = Gauge("sway_in_flight_records", "Records read but not committed", registry=registry)
        self.ready = Gauge("sway_ready", "1 if records are being processed", registry=registry)
        self.commit_s = Histogram(
            "sway_commit_seconds", "Finish, transaction and local write", buckets=_SECONDS, registry=registry
        )
        self.latency_s = Histogram(
            "sway_latency_seconds",
            "From the record timestamp to the commit, for the oldest event of each batch",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_fill = Histogram(
            "sway_batch_fill",
            "Tokens of a micro-batch divided by its budget",
            buckets=_FILL,
            registry=registry,
        )
        self.forward_s = Histogram(
            "sway_forward_seconds", "One forward pass", buckets=_SECONDS, registry=registry
        )
        self.passes_again = Counter(
            "sway_forward_again", "Forward passes beyond one per micro-batch", registry=registry
        )
        self.queue_s = Histogram(
            "sway_queue_seconds",
            "Wait of the oldest text of a micro-batch",
            buckets=_SECONDS,
            registry=registry,
        )
        self.epochs = Gauge("sway_epochs", "Assignments since the start", registry=registry)
        self.fenced = Gauge("sway_fenced_units", "Units fenced by the broker and dropped", registry=registry)
        self.recovered = Gauge("sway_recovered_records", "Changelog records read", registry=registry)
        self.offset_resets = Gauge(
            "sway_offset_resets",
            "Partitions that did not continue at the committed offset",
            registry=registry,
        )
        self.lost_records = Gauge(
            "sway_lost_records", "Offsets skipped by offset resets, where known", registry=registry
        )
        self.recovery_s = Gauge("sway_recovery_seconds", "Time spent in recovery", registry=registry)
        self.recovery_read = Gauge(
            "sway_recovery_records_read",
            "Changelog records read by the newest recovery",
            ["partition"],
            registry=registry,
        )
        self.recovery_to_go = Gauge(
            "sway_recovery_records_to_go",
            "Changelog offsets that it still has to read, an upper bound for the records",
            ["partition"],
            registry=registry,
        )
        self.held = Gauge(
            "sway_held_partition",
            "1 while a partition is paused because of an unknown schema",
            ["partition", "schema"],
            registry=registry,
        )
        self.model = Gauge(
            "sway_model", "The model in use", ["version", "device", "dtype"], registry=registry
        )
        self.vectors = Gauge("sway_text_vectors", "Texts whose vectors a late model keeps", registry=registry)
        self.vectors_asked = Gauge(
            "sway_text_vectors_asked",
            "Vectors requested by batches, by whether the model in use had them",
            ["found"],
            registry=registry,
        )
        self.swaps = Counter("sway_model_swaps", "New champions put in use", registry=registry)
        self.swap_s = Histogram(
            "sway_model_swap_seconds",
            "From seeing a promotion to its model being ready",
            buckets=_SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            "sway_champion_refused", "Promotions that cannot be used", ["reason"], registry=registry
        )
        self.champion_alarm = Gauge(
            "sway_champion_alarm", "1 if the champion is not in use or unknown", registry=registry
        )
        self.handovers = Counter("sway_handovers", "Training requests written", registry=registry)
        self.handover_waiting = Gauge(
            "sway_handover_examples_waiting", "Examples counted but not handed over", registry=registry
        )
        self.handover_leader = Gauge("sway_handover_leader", "1 if this worker hands over", registry=registry)

    def on_commit(self, unit: Unit, commit_s: float) -> None:
        """Count a committed unit. commit_s: duration of the commit in seconds."""
        now_s = time.time()
        self.commit_s.observe(commit_s)
        for context in contexts(unit.works):
            self.events.inc(context.counts[EVENTS])
            self.scores.inc(context.counts[SCORES])
            for result in _OUTCOME_RESULTS:
                if context.counts[result]:
                    self.outcomes.labels(result).inc(context.counts[result])
            for source in _LABEL_SOURCES:
                if context.counts[label_from(source)]:
                    self.labels.labels(source).inc(context.counts[label_from(source)])
            self.ticks.inc(context.counts[TICKS])
            self.labels_without_score.inc(context.counts[LABEL_WITHOUT_SCORE])
            for labeled in context.labels.labeled:
                self.quality.add(labeled.model_version, labeled.y, labeled.y_hat)
            for reason, count in context.dead_letters.items():
                self.dead_letters.labels(reason).inc(count)
            if context.pending:
                self.latency_s.observe(max(0.0, now_s - context.pending[0].record.timestamp / 1000))

    def on_batch(self, stats: BatchStats) -> None:
        """Record a micro-batch; called on the forward thread."""
        self.batch_fill.observe(stats.fill)
        self.forward_s.observe(stats.forward_s)
        self.queue_s.observe(stats.queue_s)
        self.passes_again.inc(stats.passes - 1)

    def show_model(self, model: Model) -> None:
        """Set the model in use and remove the previous one."""
        self.quality.serve(model.version)
        self.model.clear()
        self.model.labels(model.version, str(model.device), model.dtype).set(1)
        # Weak, so that a replaced model can be freed.
        self._late = weakref.ref(model) if isinstance(model, LateModel) else None
        self._show_vectors()

    def _show_vectors(self) -> None:
        late = self._late  # read once, because a swap on the watcher's thread may set it to None
        model = None if late is None else late()
        if model is None:
            self.vectors.set(0)
            self.vectors_asked.clear()
            return
        self.vectors.set(len(model.vectors))
        self.vectors_asked.labels("yes").set(model.vectors.hits)
        self.vectors_asked.labels("no").set(model.vectors.misses)

    @property
    def encoded(self) -> int:
        """Number of text vectors computed by the model in use; 0 if it is not a late model."""
        model = None if self._late is None else self._late()
        return 0 if model is None else model.vectors.made

    def on_swap(self, model: Model, seconds: float) -> None:
        """Record a new champion. seconds: from seeing its promotion to being ready."""
        self.swaps.inc()
        self.swap_s.observe(seconds)
        self.show_model(model)

    def on_refused(self, reason: str) -> None:
        """Count a promotion that cannot be used."""
        self.refused.labels(reason).inc()

    def alarm(self, on: bool) -> None:
        """Set or clear the champion alarm."""
        self.champion_alarm.set(on)

    def on_handover(self) -> None:
        """Count a training request."""
        self.handovers.inc()

    def show_handover(self, leads: bool, waiting: int) -> None:
        """Set whether this worker hands over, and how many examples wait."""
        self.handover_leader.set(leads)
        self.handover_waiting.set(waiting)

    def observe(self, stats: EngineStats, lag: Mapping[TopicPartition, Lag], ready: bool) -> None:
        """Copy the engine's figures to the gauges; called periodically."""
        self._show_vectors()
        self.in_flight.set(stats.in_flight_records)
        self.ready.set(ready)
        self.epochs.set(stats.epochs)
        self.fenced.set(stats.fenced_units)
        self.recovered.set(stats.recovered_records)
        self.recovery_s.set(stats.recovery_s)
        self.offset_resets.set(stats.offset_resets)
        self.lost_records.set(stats.lost_records)
        for gauge in (self.lag, self.lag_to_end, self.open_transaction_s):
            gauge.clear()
        for tp, one in lag.items():
            self.lag.labels(tp.topic, str(tp.partition)).set(one.stable_records)
            self.lag_to_end.labels(tp.topic, str(tp.partition)).set(one.records)
            self.open_transaction_s.labels(tp.topic, str(tp.partition)).set(one.open_transaction_s)
        self.recovery_read.clear()
        self.recovery_to_go.clear()
        for number, restored in stats.recovery.partitions.items():
            self.recovery_read.labels(str(number)).set(restored.records)
            self.recovery_to_go.labels(str(number)).set(restored.to_go)

    def show_held(self, schemas: Mapping[int, str]) -> None:
        """Set the paused partitions and remove all others. schemas: the missing schema by partition."""
        self.held.clear()
        for number, schema in schemas.items():
            self.held.labels(str(number), schema).set(1)

    def render(self) -> bytes:
        """Return all metrics in Prometheus text format."""
        for version, figures in self.quality.changed():
            for name, value in figures.items():
                self.live[name].labels(version).set(value)
            self._live_versions.add(version)
        for version in self._live_versions - set(self.quality.versions):
            for gauge in self.live.values():
                gauge.remove(version)
            self._live_versions.remove(version)
        return generate_latest(self.registry)
