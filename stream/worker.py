"""Puts a worker together: settings, champion, micro-batcher, processor and the Faust app. The thin shell."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import faust
import torch

from model.device import choose_device
from model.errors import RegistryError
from model.forward import ScoringModel
from model.loaded import LoadedModel
from model.packing import PackingSettings
from model.registry import ModelRegistry
from model.scorer import MicroBatcher
from model.tokens import BehaviourTokenizer
from schemas.records import (
    BehaviorEvent,
    DeadLetter,
    Estimate,
    InfluenceScore,
    ItemRate,
    LabeledExample,
    Outcome,
)
from schemas.validate import Limits
from stream.behaviours import BehaviourLimits
from stream.champion import ChampionWatcher
from stream.errors import ConfigurationError, StuckError
from stream.exactly_once import ExactlyOnceApp, ExactlyOnceConfig, LayeredTable, Scorer, Unit
from stream.handover.setup import lead
from stream.handover.watch import HandoverThread
from stream.labels.labelling import Labels
from stream.labels.rules import JoinSettings, Rule
from stream.labels.state import ESTIMATES, ITEMS, PENDING, PendingState, StateCodec, pending_codec
from stream.metrics import WorkerMetrics
from stream.processor import WINDOWS, Codecs, ScoringProcessor, Topics
from stream.settings import KafkaSettings, Settings
from stream.web import add_pages
from stream.windows import Window, WindowLimits
from stream.wire import codec_for, resolver_for

_WATCH_INTERVAL_S = 1.0
_GC_THRESHOLDS = (50_000, 20, 100)
_MAX_BLOCK_BYTES_BESIDE_TEXT = 1_700  # ids of 512 bytes each, the action, the numbers


class Background(Protocol):
    """A thread beside the stream; the worker never waits for it."""

    def start(self) -> None:
        """Start it."""
        ...

    def stop(self) -> None:
        """Ask it to end."""
        ...


class SwayApp(ExactlyOnceApp):
    """The worker as a Faust app; `metrics` and `settings` hang on it."""

    def __init__(self, settings: Settings, metrics: WorkerMetrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.waiting_for: str | None = None  # something that is away and without which nothing can be read
        self.background: list[Background] = []
        super().__init__(settings.app_id, _config(settings), **_faust_options(settings))

    async def on_first_start(self) -> None:
        """Start, with everything that is loaded by now left out of garbage collection."""
        _spare_the_collector()
        await super().on_first_start()
        for part in self.background:
            part.start()

    async def on_stop(self) -> None:
        """Stop what runs beside, then Faust."""
        for part in self.background:
            part.stop()
        await super().on_stop()

    def on_unit_committed(self, unit: Unit, seconds: float) -> None:
        """Count it."""
        self.metrics.on_commit(unit, seconds)

    def leads(self) -> bool:
        """Whether this is the worker of the first input partition; safe to ask from any thread."""
        return self._engine is not None and self._engine.has(0)

    @property
    def not_ready_because(self) -> str | None:
        """Why no records are being processed, or None."""
        engine = self._engine
        if engine is None:
            return "starting"
        return self.waiting_for if engine.state == "running" else engine.state


@dataclass(frozen=True, slots=True)
class Parts:
    """What can be given instead of being made from the settings; benchmarks bring a scorer that costs nothing."""

    model: LoadedModel
    scorer: Scorer


def build_app(settings: Settings, parts: Parts | None = None) -> SwayApp:
    """Make a worker's app, its champion loaded and warm.

    Raises ConfigurationError, or model.errors.ModelError for a champion that is missing or broken.
    """
    check(settings)
    metrics = WorkerMetrics()
    batcher = None
    if parts is None:
        model = load_champion(settings)
        batcher = make_batcher(settings, model, metrics)
        parts = Parts(model, batcher)
    model = parts.model
    metrics.show_model(model)
    app = SwayApp(settings, metrics)
    labels = make_labels(settings) if settings.labels.wanted else None
    processor = make_processor(settings, model, labels)
    processor.on_wait = lambda what: setattr(app, "waiting_for", what)
    add_tables(app, processor, labels, settings.units.cached_values)
    app.process_with(processor, parts.scorer)
    if batcher is not None and settings.model.version is None:
        processor.on_swap = batcher.use
        app.background.append(make_watcher(settings, model, processor.offer, metrics))
    if settings.handover.enabled and settings.labels.wanted:
        app.background.append(HandoverThread(app.leads, partial(lead, settings), metrics))
    add_pages(app)
    _watch(app)
    return app


def add_tables(
    app: ExactlyOnceApp, processor: ScoringProcessor, labels: Labels | None, cached_values: int
) -> None:
    """Declare the tables, and give them to who reads them; cached_values: kept decoded of each."""
    cached = {"cached_values": cached_values}
    windows = processor.window_codec
    table: LayeredTable[Window] = app.layered_table(
        WINDOWS, dumps=windows.dumps, loads=windows.loads, **cached
    )
    processor.table = table
    if labels is None:
        return
    states = pending_codec()
    pending: LayeredTable[PendingState] = app.layered_table(
        PENDING, dumps=states.dumps, loads=states.loads, **cached
    )
    of_estimate, of_item = StateCodec(Estimate), StateCodec(ItemRate)
    estimates: LayeredTable[Estimate] = app.layered_table(
        ESTIMATES, dumps=of_estimate.dumps, loads=of_estimate.loads, **cached
    )
    items: LayeredTable[ItemRate] = app.layered_table(
        ITEMS, dumps=of_item.dumps, loads=of_item.loads, **cached
    )
    labels.pending, labels.estimates, labels.items = pending, estimates, items


def make_labels(settings: Settings) -> Labels:
    """Make the label join; its tables are still to be set."""
    wanted = settings.labels
    topic = settings.topics.examples
    codec = codec_for(LabeledExample, topic, settings.wire)
    codec.prepare_write()
    rules = tuple(Rule(rule.action, rule.by, round(rule.within_s * 1000), rule.y) for rule in wanted.rules)
    join = JoinSettings(
        rules, wanted.weights, wanted.negative, round(wanted.horizon_s * 1000), round(wanted.grace_s * 1000)
    )
    return Labels(join, topic, codec)


def _spare_the_collector() -> None:
    """Keep Python's cycle collector from walking over libraries and windows again and again.

    Records, windows and texts hold no cycles and are freed by counting references; with Python's own thresholds a
    third of the worker's time went into looking for some.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def check(settings: Settings) -> None:
    """Raise ConfigurationError for settings that cannot work together."""
    block_bytes = 4 * settings.text.max_item_text_chars + _MAX_BLOCK_BYTES_BESIDE_TEXT
    if block_bytes > settings.window.max_bytes:
        raise ConfigurationError(
            f"text.max_item_text_chars={settings.text.max_item_text_chars} allows a behaviour of {block_bytes} bytes, "
            f"but window.max_bytes={settings.window.max_bytes} is all of a user's window. Lower the first or raise "
            "the second."
        )


def load_champion(settings: Settings) -> LoadedModel:
    """Load and warm the pinned version, or the champion.

    Raises a RegistryError that names the setting.
    """
    registry = ModelRegistry(settings.model.registry)
    try:
        device = choose_device(settings.model.device)
    except ValueError as exc:
        raise ConfigurationError(f"model.device={settings.model.device!r} cannot be used: {exc}") from exc
    try:
        version = settings.model.version or registry.champion()
        if version is None:
            raise ConfigurationError(
                f"The registry {settings.model.registry!r} (model.registry) has no champion. Train and promote a "
                "model first, or name one with model.version."
            )
        model = _load(settings, registry, version, device)
    except RegistryError as exc:
        exc.add_note(f"The registry is model.registry={settings.model.registry!r}.")
        raise
    model.warm_up()
    return model


def make_watcher(
    settings: Settings, model: LoadedModel, offer: Callable[[LoadedModel], None], metrics: WorkerMetrics
) -> ChampionWatcher:
    """Make what follows the registry from the model that was loaded at the start; not started."""
    registry = ModelRegistry(settings.model.registry)
    device = model.device

    def load(version: str, tokenizer: BehaviourTokenizer) -> LoadedModel:
        return _load(settings, registry, version, device, tokenizer)

    interval_s = settings.model.poll_interval_s
    return ChampionWatcher(registry, model, load, offer, metrics, poll_interval_s=interval_s)


def _load(
    settings: Settings,
    registry: ModelRegistry,
    version: str,
    device: torch.device,
    tokenizer: BehaviourTokenizer | None = None,
) -> LoadedModel:
    return registry.load(
        version,
        device=device,
        dtype=settings.model.dtype,
        cached_pieces=settings.text.cached_behaviours,
        tokenizer=tokenizer,
    )


def make_batcher(settings: Settings, model: ScoringModel, metrics: WorkerMetrics) -> MicroBatcher:
    """Start the micro-batcher's threads."""
    wanted = settings.model
    packing = PackingSettings.for_device(
        model.device.type,
        max_batch_tokens=wanted.max_batch_tokens,
        max_batch_rows=wanted.max_batch_rows,
        max_wait_s=wanted.max_wait_s,
    )
    return MicroBatcher(model, packing, on_batch=metrics.on_batch)


def make_processor(settings: Settings, model: LoadedModel, labels: Labels | None) -> ScoringProcessor:
    """Make the processor for a model's way of reading; its tables are still to be set."""
    names = settings.topics
    wire = settings.wire
    resolver = resolver_for(wire)
    codecs = Codecs(
        events=codec_for(BehaviorEvent, names.events, wire, resolver),
        outcomes=codec_for(Outcome, names.outcomes, wire, resolver),
        scores=codec_for(InfluenceScore, names.scores, wire, resolver),
        dead_letters=codec_for(DeadLetter, names.dead_letters, wire, resolver),
        late_dead_letters=codec_for(DeadLetter, names.dead_letters, wire, resolver),
    )
    for codec in (codecs.scores, codecs.dead_letters, codecs.late_dead_letters):
        codec.prepare_write()  # a schema that is not registered shows now, not at the first score
    return ScoringProcessor(
        topics=Topics(names.events, names.outcomes, names.scores, names.dead_letters),
        codecs=codecs,
        model=model,
        windows=WindowLimits(settings.window.max_behaviours, settings.window.max_bytes),
        behaviours=BehaviourLimits(settings.text.max_item_text_chars),
        labels=labels,
        limits=Limits(max_ahead_ms=int(settings.time.max_ahead_s * 1000)),
        now_ms=lambda: int(time.time() * 1000),
    )


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
        connect_timeout_s=settings.kafka.connect_timeout_s,
    )


def _faust_options(settings: Settings) -> dict[str, Any]:
    kafka = settings.kafka
    return {
        "broker_session_timeout": kafka.session_timeout_s,
        "broker_heartbeat_interval": kafka.heartbeat_interval_s,
        "broker_rebalance_timeout": kafka.rebalance_timeout_s,
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


def _watch(app: SwayApp) -> None:
    """Keep the gauges fresh, and end the process when there is work and no progress: never silently stuck."""

    async def watch() -> None:
        engine = app.engine
        lag = engine.lag(app.consumer.positions())
        app.metrics.observe(engine.stats, lag, app.not_ready_because is None)
        behind = sum(lag.values())
        if app.waiting_for is not None:  # said on /readyz; ending the process would not bring it back
            engine.stats.last_progress = time.monotonic()
        stalled_s = engine.stalled_s(behind)
        limit_s = app.settings.time.stuck_after_s
        if stalled_s > limit_s:
            await engine.fail(
                StuckError(
                    f"No progress for {stalled_s:.0f} s (time.stuck_after_s={limit_s:g}) with {behind} records to "
                    f"fetch and {engine.stats.in_flight_records} in flight, while {engine.state}."
                )
            )

    app.timer(_WATCH_INTERVAL_S, name="watch")(watch)
