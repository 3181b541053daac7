"""`sway trainer`."""

import logging
import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from sway.configuration import load_settings

if TYPE_CHECKING:
    from stream.settings import Settings
    from sway.training_file import Knobs
    from trainer.service import TrainerService


def trainer(
    loglevel: Annotated[str, typer.Option(help="One of debug, info, warning, error.")] = "info",
) -> None:
    """Run a trainer: fine-tune, judge, promote.

    For each request from sway.training it fine-tunes a challenger, compares it with the champion, and promotes or
    rejects it. It runs until SIGTERM or Ctrl-C, and then stops within 30 seconds. An interrupted
    training resumes after a restart. Any number of trainers may run, each with its own work folder: one is active, the
    others are on standby. Workers load a new champion by themselves. The pages /livez, /readyz and /metrics are served
    at SWAY_TRAINER__WEB_HOST and SWAY_TRAINER__WEB_PORT.

    Example: `SWAY_MODEL__REGISTRY=registry SWAY_TRAINER__THREADS=1 sway trainer`
    """
    # Handlers are set first, because process 1 of a container ignores signals without one.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _exit(0))
    settings = load_settings()
    from stream.log import set_up_log

    set_up_log(logging.getLevelName(loglevel.upper()))
    os.nice(settings.trainer.nice)
    from trainer.claim import claimed

    with claimed(settings.trainer.work_dir):
        service = make_service(settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        with _pages(settings, service):
            _run(service)


def _run(service: "TrainerService") -> None:
    """Run the service until a signal ends it, then exit with status 0. Raises any error of the service.

    It exits without the interpreter's finalization, which would wait for a call that does not return, and which takes
    longer than the service on a busy machine. Like a kill, this loses no data.
    """
    try:
        service.run()
    except Exception:
        if service.has_ended:
            raise
        logging.getLogger(__name__).exception("The trainer has failed")
        _exit(1)
    _exit(0)


def _exit(status: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _pages(settings: "Settings", service: "TrainerService") -> AbstractContextManager[object]:
    from trainer.web import pages, serving

    wanted = settings.trainer
    if not wanted.web_enabled:
        return nullcontext()
    shown = pages(lambda: service.not_ready_because, service.metrics.render)
    return serving(shown, wanted.web_host, wanted.web_port)


def make_service(settings: "Settings") -> "TrainerService":
    """Return the service for these settings."""
    import torch  # torch and the modules below take seconds to import

    from model.registry import ModelRegistry
    from schemas.records import LabeledExample, ModelAnnouncement, TrainingRequest
    from stream.wire import codec_for
    from trainer.announce import Announcer
    from trainer.cleanup import clean_up
    from trainer.gate import GateSettings
    from trainer.ranges import ExampleRanges
    from trainer.request import RequestConfig, RequestHandler
    from trainer.service import TrainerService

    wanted, topics, kafka = settings.trainer, settings.topics, settings.kafka
    client = kafka.client_config()
    clean_up(wanted.work_dir, ModelRegistry(settings.model.registry))
    if wanted.threads is not None:
        torch.set_num_threads(wanted.threads)
    knobs = training_knobs(settings)
    config = RequestConfig(
        work=wanted.work_dir,
        training=knobs.config,
        given_knobs=knobs.given,
        gate=GateSettings(
            confidence=wanted.gate_confidence,
            min_improvement=wanted.gate_min_improvement,
            min_examples=wanted.gate_min_examples,
            min_users=wanted.gate_min_users,
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
    service: TrainerService
    examples = ExampleRanges(
        client, codec_for(LabeledExample, topics.examples, settings.wire), check=lambda: service.check()
    )
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
        handler,
        codec_for(TrainingRequest, topics.training, settings.wire),
        max_tries=wanted.max_tries,
    )
    return service


def training_knobs(settings: "Settings") -> "Knobs":
    """Return the knobs of the TOML file, or defaults with a small learning rate and one epoch."""
    from dataclasses import replace

    from sway.training_file import Knobs, read_knobs
    from trainer.config import TrainingConfig

    wanted = settings.trainer
    usual = TrainingConfig(trained_layers=2, epochs=1, learning_rate=2e-5, heads_learning_rate=1e-4)
    knobs = Knobs(usual) if wanted.config is None else read_knobs(wanted.config)
    return knobs._replace(config=replace(knobs.config, threads=wanted.threads))
