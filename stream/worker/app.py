"""Builds a worker from the settings: champion, micro-batcher, processor and the Faust app."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import faust

from model.loading import Model
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer
from stream.assembly import (
    check,
    load_champion,
    load_version,
    make_batcher,
    make_labels,
    make_processor,
    tune_garbage_collection,
)
from stream.exactly_once import ExactlyOnceApp, ExactlyOnceConfig, LayeredTable, Scorer, Unit
from stream.handover.setup import lead
from stream.handover.watch import HandoverThread
from stream.log import limit_client_logs
from stream.scoring.labels.labelling import Labels
from stream.scoring.labels.state import (
    ESTIMATES,
    ITEMS,
    PENDING,
    EstimatesState,
    ItemsState,
    PendingState,
    estimates_codec,
    items_codec,
    pending_codec,
)
from stream.scoring.processor import WINDOWS, ScoringProcessor
from stream.scoring.state_sizes import SHARES, estimates_bytes, items_bytes, pending_bytes, window_bytes
from stream.scoring.windows import Window
from stream.settings import MEBIBYTE, KafkaSettings, Settings
from stream.worker.champion import ChampionWatcher
from stream.worker.input_limits import warn_of_unlimited_inputs
from stream.worker.metrics import WorkerMetrics
from stream.worker.ticking import Ticker, make_tick_producer
from stream.worker.watch import watch
from stream.worker.web import add_pages

_CLEAN_INTERVAL_S = 3_600.0
_TICK_INTERVAL_S = 1.0
_LEAST_POLL_INTERVAL_S = 1000.0  # Faust's default


class Background(Protocol):
    """A thread that runs beside the stream; the worker never waits for it."""

    def start(self) -> None:
        """Start the thread."""
        ...

    def stop(self) -> None:
        """Ask the thread to stop."""
        ...


class SwayApp(ExactlyOnceApp):
    """The worker as a Faust app, with its settings and metrics."""

    def __init__(self, settings: Settings, metrics: WorkerMetrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.waiting_for: str | None = None  # an unavailable service without which nothing can be read
        self.background: list[Background] = []
        super().__init__(settings.app_id, _config(settings), **_faust_options(settings))

    async def on_first_start(self) -> None:
        """Start; objects loaded so far are excluded from garbage collection."""
        tune_garbage_collection()
        limit_client_logs()  # here as well, because Faust's own command sets up logging itself
        await super().on_first_start()
        await asyncio.get_running_loop().run_in_executor(None, warn_of_unlimited_inputs, self.settings)
        for part in self.background:
            part.start()

    async def on_stop(self) -> None:
        """Stop the background threads, then Faust."""
        for part in self.background:
            part.stop()
        await super().on_stop()

    def on_unit_committed(self, unit: Unit, seconds: float) -> None:
        """Update the metrics."""
        self.metrics.on_commit(unit, seconds)

    def leads(self) -> bool:
        """Return whether this worker has input partition 0; thread-safe."""
        return self._engine is not None and self._engine.has(0)

    @property
    def not_ready_reason(self) -> str | None:
        """The reason why no records are processed, or None."""
        engine = self._engine
        if engine is None:
            return "starting"
        if engine.state != "running":
            return engine.status
        return self.waiting_for or self._paused_in_words()

    def _paused_in_words(self) -> str | None:
        if not self.paused_partitions:
            return None
        return "paused partitions: " + "; ".join(map(str, self.paused_partitions.values()))


@dataclass(frozen=True, slots=True)
class Components:
    """Components to use instead of those made from the settings; benchmarks pass a scorer without cost."""

    model: Model
    scorer: Scorer


def build_app(settings: Settings, components: Components | None = None) -> SwayApp:
    """Create a worker's app, with its champion loaded and warmed up.

    Raises ConfigurationError, or model.errors.ModelError if the champion is missing or broken.
    """
    check(settings)
    metrics = WorkerMetrics()
    batcher = None
    if components is None:
        model = load_champion(settings)
        batcher = make_batcher(settings, model, metrics.on_batch)
        components = Components(model, batcher)
    model = components.model
    metrics.show_model(model)
    app = SwayApp(settings, metrics)
    labels = make_labels(settings) if settings.labels.wanted else None
    processor = make_processor(settings, model, labels)
    processor.on_wait = lambda what: setattr(app, "waiting_for", what)
    add_tables(app, processor, labels, settings.memory.values_mb * MEBIBYTE)
    app.process_with(processor, components.scorer)
    if batcher is not None and settings.model.version is None:
        processor.on_swap = batcher.use
        app.background.append(make_watcher(settings, model, processor.offer, metrics))
    if settings.handover.enabled and settings.labels.wanted:
        app.background.append(HandoverThread(app.leads, partial(lead, settings), metrics))
    add_pages(app)
    watch(app)
    _clean(app)
    if labels is not None and settings.labels.outcomes and settings.labels.ticks:
        make_producer = partial(make_tick_producer, settings.kafka.client_config())
        _tick(app, Ticker(labels, settings.topics.outcomes, make_producer))
    return app


def add_tables(
    app: ExactlyOnceApp, processor: ScoringProcessor, labels: Labels | None, max_cached_bytes: int
) -> None:
    """Declare the tables and pass them to their readers. max_cached_bytes: of decoded values in all tables."""

    def options(name: str, size_of: Callable[[Any], int]) -> dict[str, Any]:
        share = SHARES[name] if labels is not None else 1.0
        return {"max_cached_bytes": int(share * max_cached_bytes), "size_of": size_of}

    windows = processor.window_codec
    table: LayeredTable[Window] = app.layered_table(
        WINDOWS, dumps=windows.dumps, loads=windows.loads, **options(WINDOWS, window_bytes)
    )
    processor.table = table
    if labels is None:
        return
    states = pending_codec()
    pending: LayeredTable[PendingState] = app.layered_table(
        PENDING, dumps=states.dumps, loads=states.loads, **options(PENDING, pending_bytes)
    )
    of_estimates, of_items = estimates_codec(), items_codec()
    estimates: LayeredTable[EstimatesState] = app.layered_table(
        ESTIMATES, dumps=of_estimates.dumps, loads=of_estimates.loads, **options(ESTIMATES, estimates_bytes)
    )
    items: LayeredTable[ItemsState] = app.layered_table(
        ITEMS, dumps=of_items.dumps, loads=of_items.loads, **options(ITEMS, items_bytes)
    )
    labels.pending, labels.estimates, labels.items = pending, estimates, items


def make_watcher(
    settings: Settings, model: Model, offer: Callable[[Model], None], metrics: WorkerMetrics
) -> ChampionWatcher:
    """Create the watcher that follows the registry, starting from the loaded model; it is not started."""
    registry = ModelRegistry(settings.model.registry)
    device = model.device

    def load(version: str, tokenizer: BehaviourTokenizer) -> Model:
        return load_version(settings, registry, version, device, tokenizer)

    interval_s = settings.model.poll_interval_s
    return ChampionWatcher(registry, model, load, offer, metrics, poll_interval_s=interval_s)


def _config(settings: Settings) -> ExactlyOnceConfig:
    units = settings.units
    topics = settings.topics
    return ExactlyOnceConfig(
        input_topics=[topics.outcomes, topics.events] if settings.labels.outcomes else [topics.events],
        state_dir=settings.state_dir,
        client_config=settings.kafka.client_config(),
        slot=settings.slot,
        offset_reset=settings.offset_reset,
        lost_offset_reset=settings.lost_offset_reset,
        unit_max_records=units.max_records,
        unit_max_bytes=units.max_bytes,
        unit_linger_s=units.linger_s,
        max_in_flight_records=units.max_in_flight_records,
        max_in_flight_bytes=units.max_in_flight_bytes,
        max_poll_records=min(2048, units.max_in_flight_records),
        transaction_timeout_s=units.transaction_timeout_s,
        changelog_replication=topics.replication,
        connect_timeout_s=settings.kafka.connect_timeout_s,
        max_store_memory_bytes=settings.memory.rocksdb_mb * MEBIBYTE,
        drop_unused_stores_after_s=settings.drop_unused_stores_after_s,
    )


def _faust_options(settings: Settings) -> dict[str, Any]:
    kafka = settings.kafka
    return {
        "broker_session_timeout": kafka.session_timeout_s,
        "broker_heartbeat_interval": kafka.heartbeat_interval_s,
        "broker_rebalance_timeout": kafka.rebalance_timeout_s,
        # The watchdog detects stalls: aiokafka must not leave the group earlier.
        "broker_max_poll_interval": max(_LEAST_POLL_INTERVAL_S, 2 * settings.time.stuck_after_s),
        "broker_request_timeout": max(90.0, kafka.session_timeout_s * 2),
        "broker_credentials": _credentials(kafka),
        "web_enabled": settings.web.enabled,
        "web_bind": settings.web.host,
        "web_host": settings.web.host,
        "web_port": settings.web.port,
    }


def _credentials(kafka: KafkaSettings) -> Any:
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = None
    if kafka.security_protocol.endswith("SSL"):
        import ssl

        context = ssl.create_default_context(
            cafile=str(kafka.ssl_ca_location) if kafka.ssl_ca_location else None
        )
    if not kafka.security_protocol.startswith("SASL"):
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=kafka.sasl_username,
        password=kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
        ssl_context=context,
        mechanism=kafka.sasl_mechanism,
    )


def _tick(app: SwayApp, ticker: Ticker) -> None:
    """Start a timer that writes ticks to idle partitions, so that their labels become due."""

    async def look() -> None:
        lag = app.engine.lag(app.consumer.positions())
        behind = {tp.partition for tp, one in lag.items() if one.records}
        ticker.look({tp.partition for tp in lag if app.engine.has(tp.partition)} - behind)

    app.timer(_TICK_INTERVAL_S, name="ticks")(look)


def _clean(app: SwayApp) -> None:
    """Start a timer that deletes stores of partitions that moved to other workers long ago."""

    async def clean() -> None:
        await app.engine.drop_unused_stores()

    app.timer(_CLEAN_INTERVAL_S, name="clean")(clean)
