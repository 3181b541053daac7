"""`sway trainer`."""

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sway.configuration import load_settings

if TYPE_CHECKING:
    from stream.settings import Settings
    from trainer.config import TrainingConfig
    from trainer.service import TrainerService


def trainer(
    loglevel: Annotated[str, typer.Option(help="One of debug, info, warning, error.")] = "info",
) -> None:
    """Train when examples are handed over: fine-tune, judge against the champion, promote or reject.

    Reads requests from sway.training until SIGTERM or Ctrl-C. A training that is interrupted resumes after a restart;
    any number of trainers may run, one of them works. Workers take a new champion by themselves.

    Example: `SWAY_MODEL__REGISTRY=registry SWAY_TRAINER__THREADS=1 sway trainer`
    """
    settings = load_settings()
    logging.basicConfig(
        level=loglevel.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    os.nice(settings.trainer.nice)
    service = make_service(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    service.run()


def make_service(settings: "Settings") -> "TrainerService":
    """Put the service together."""
    import torch  # takes seconds to import, as do the others

    from model.registry import ModelRegistry
    from schemas.records import LabeledExample, ModelAnnouncement, TrainingRequest
    from stream.wire import codec_for
    from trainer.announce import Announcer
    from trainer.gate import GateSettings
    from trainer.ranges import ExampleRanges
    from trainer.request import RequestConfig, RequestHandler
    from trainer.service import TrainerService
    from trainer.work_folders import clean_up

    wanted, topics, kafka = settings.trainer, settings.topics, settings.kafka
    client = kafka.client_config()
    clean_up(wanted.work_dir, ModelRegistry(settings.model.registry))
    if wanted.threads is not None:
        torch.set_num_threads(wanted.threads)
    config = RequestConfig(
        work=wanted.work_dir,
        training=training_config(settings),
        gate=GateSettings(
            confidence=wanted.gate_confidence,
            min_improvement=wanted.gate_min_improvement,
            min_examples=wanted.gate_min_examples,
            max_slowdown=wanted.gate_max_slowdown,
            max_ms_per_text=wanted.gate_max_ms_per_text,
        ),
        base=wanted.base,
        base_name="base" if wanted.base is None else wanted.base.name,
        older=wanted.older_examples,
        valid_share=wanted.valid_share,
        gate_share=wanted.gate_share,
    )
    announcer = Announcer(client, topics.models, codec_for(ModelAnnouncement, topics.models, settings.wire))
    examples = ExampleRanges(client, codec_for(LabeledExample, topics.examples, settings.wire))
    service: TrainerService
    handler = RequestHandler(
        ModelRegistry(settings.model.registry),
        examples.read,
        announcer,
        config,
        progress=lambda progress: service.on_progress(progress),
    )
    service = TrainerService(
        {
            **client,
            "session.timeout.ms": str(round(kafka.session_timeout_s * 1000)),
            "heartbeat.interval.ms": str(round(kafka.heartbeat_interval_s * 1000)),
        },
        f"{settings.app_id}-trainer",
        topics.training,
        handler.handle,
        codec_for(TrainingRequest, topics.training, settings.wire),
    )
    return service


def training_config(settings: "Settings") -> "TrainingConfig":
    """Return the knobs of the TOML file, if there is one; else small steps, and few enough for two cores."""
    from dataclasses import replace

    from sway.training_file import read_knobs
    from trainer.config import TrainingConfig

    wanted = settings.trainer
    config = TrainingConfig(trained_layers=2, epochs=1, learning_rate=2e-5, heads_learning_rate=1e-4)
    if wanted.config is not None:
        config = read_knobs(wanted.config)
    return replace(config, threads=wanted.threads)
