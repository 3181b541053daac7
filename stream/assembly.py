"""Creates model, micro-batcher, processor and label join from the settings.

The worker (stream/worker/app.py) and the replay (stream/replay/) use the same components, so that both build the same
text and score it with the same model.
"""

import atexit
import gc
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from model.device import choose_device
from model.errors import RegistryError
from model.forward import ScoringModel
from model.loading import Model
from model.packing import PackingSettings
from model.registry import ModelRegistry
from model.scorer import BatchStats, MicroBatcher
from model.scratch import remove_stale_scratch
from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, DeadLetter, InfluenceScore, LabeledExample, Outcome, Record
from schemas.validate import Limits
from schemas.wire import Encoder
from stream.errors import ConfigurationError
from stream.scoring.behaviours import BehaviourLimits
from stream.scoring.labels.labelling import Labels
from stream.scoring.labels.rules import JoinSettings, Rule
from stream.scoring.processor import Codecs, ScoringProcessor, Topics
from stream.scoring.texts import ReadingModel
from stream.scoring.windows import WindowLimits
from stream.settings import ModelSettings, Settings
from stream.wire import codec_for, resolver_for

R = TypeVar("R", bound=Record)

_GC_THRESHOLDS = (50_000, 20, 100)
_MAX_BLOCK_BYTES_BESIDE_TEXT = 1_700  # ids of 512 bytes each, the action, the numbers


def check(settings: Settings) -> None:
    """Raise ConfigurationError for settings that contradict each other."""
    block_bytes = 4 * settings.text.max_item_text_chars + _MAX_BLOCK_BYTES_BESIDE_TEXT
    if block_bytes > settings.window.max_bytes:
        raise ConfigurationError(
            f"text.max_item_text_chars={settings.text.max_item_text_chars} allows a behaviour of {block_bytes} bytes, "
            f"but window.max_bytes={settings.window.max_bytes} limits a user's whole window. Lower the first or raise "
            "the second."
        )


def load_champion(settings: Settings) -> Model:
    """Load and warm up the pinned version, or the champion.

    Raises a RegistryError that names the setting.
    """
    remove_stale_scratch()
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
                "model first, or set model.version."
            )
        model = load_version(settings, registry, version, device)
    except RegistryError as exc:
        exc.add_note(f"The registry is model.registry={settings.model.registry!r}.")
        raise
    model.warm_up()
    return model


def load_version(
    settings: Settings,
    registry: ModelRegistry,
    version: str,
    device: torch.device,
    tokenizer: BehaviourTokenizer | None = None,
) -> Model:
    """Load a version with the configured options. tokenizer: reused if the version tokenizes in the same way."""
    return registry.load(
        version,
        device=device,
        dtype=settings.model.dtype,
        cached_pieces=settings.text.cached_behaviours,
        cached_vectors=settings.model.cached_vectors,
        tokenizer=tokenizer,
    )


def packing_for(settings: ModelSettings, device_type: str, **overrides: Any) -> PackingSettings:
    """Return the micro-batcher's limits: the configured ones, otherwise the defaults of the device."""
    limits = {"max_batch_tokens": settings.max_batch_tokens, "max_batch_rows": settings.max_batch_rows}
    wanted = {name: limit for name, limit in limits.items() if limit is not None}
    return PackingSettings.for_device(device_type, max_wait_s=settings.max_wait_s, **{**wanted, **overrides})


def make_batcher(
    settings: Settings, model: ScoringModel, on_batch: Callable[[BatchStats], None] | None = None
) -> MicroBatcher:
    """Start the micro-batcher's threads. on_batch: called on the forward thread after every batch."""
    packing = packing_for(settings.model, model.device.type)
    return MicroBatcher(model, packing, on_batch=on_batch)


def make_labels(settings: Settings, encoder: Encoder[Any] | None = None, *, examples: bool = True) -> Labels:
    """Create the label join; its tables must still be set.

    encoder: of the examples, instead of the configured one. examples: whether to write examples.
    """
    wanted = settings.labels
    topic = settings.topics.examples
    codec = encoder
    if codec is None:
        codec = codec_for(LabeledExample, topic, settings.wire)
        codec.prepare_write()
    rules = tuple(Rule(rule.action, rule.by, round(rule.within_s * 1000), rule.y) for rule in wanted.rules)
    join = JoinSettings(
        rules, wanted.weights, wanted.negative, round(wanted.horizon_s * 1000), round(wanted.grace_s * 1000)
    )
    return Labels(join, topic, codec, examples)


def make_processor(
    settings: Settings, model: ReadingModel, labels: Labels | None, encoder: Encoder[Any] | None = None
) -> ScoringProcessor:
    """Create the processor; its tables must still be set.

    model: provides the text format. encoder: of scores and dead letters, instead of the configured one.
    """
    names = settings.topics
    wire = settings.wire
    resolver = resolver_for(wire)

    def output(kind: type[R], topic: str) -> Encoder[R]:
        if encoder is not None:
            return encoder
        codec = codec_for(kind, topic, wire, resolver)
        codec.prepare_write()  # an unregistered schema fails now and not at the first score
        return codec

    codecs = Codecs(
        events=codec_for(BehaviorEvent, names.events, wire, resolver),
        outcomes=codec_for(Outcome, names.outcomes, wire, resolver),
        scores=output(InfluenceScore, names.scores),
        dead_letters=output(DeadLetter, names.dead_letters),
        late_dead_letters=output(DeadLetter, names.dead_letters),
    )
    return ScoringProcessor(
        topics=Topics(names.events, names.outcomes, names.scores, names.dead_letters),
        codecs=codecs,
        model=model,
        windows=WindowLimits(settings.window.max_behaviours, settings.window.max_bytes),
        behaviours=BehaviourLimits(settings.text.max_item_text_chars),
        labels=labels,
        limits=Limits(max_ahead_ms=int(settings.time.max_ahead_s * 1000)),
        now_ms=lambda: int(time.time() * 1000),
        waits_for_schemas=wire.unknown_schema == "pause",
    )


def tune_garbage_collection() -> None:
    """Reduce the cost of Python's cyclic garbage collector.

    Records, windows and texts contain no reference cycles and are freed by reference counting. With Python's default
    thresholds, a third of the worker's time went into searching them for cycles.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # some libraries check for leaked objects at exit
    gc.set_threshold(*_GC_THRESHOLDS)
