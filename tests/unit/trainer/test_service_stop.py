"""The trainer service stops in every phase, and a stopped request resumes."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from model.network import TwoHeadedNetwork
from schemas.records import OffsetRange, TrainingRequest
from schemas.wire import Codec
from tests.unit.trainer.fakes import FakeHandler, RunningService, fails_for, wait_until
from tests.unit.trainer.stage import REQUEST, Stage, examples
from trainer.config import Pretraining
from trainer.dataset import Example
from trainer.metrics import PHASES, phase_of
from trainer.progress import Progress
from trainer.request import PROMOTED, RequestConfig, RequestHandler


def test_a_stop_interrupts_the_pause_between_tries() -> None:
    handler = fails_for("r0", RuntimeError())
    running = RunningService(handler, max_tries=9, retry_pauses_s=(3600.0,))
    running.start()
    wait_until(lambda: running.service.not_ready_because is not None and bool(handler.handled), "failure")
    wait_until(lambda: "RuntimeError" in (running.service.not_ready_because or ""), "reason on /readyz")
    running.stop()
    assert running.consumer.committed == 0
    assert running.service.has_ended


def test_a_hanging_call_is_abandoned_after_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    never = threading.Event()

    def publish(_: TrainingRequest) -> None:
        running.service.on_progress(Progress("publishing", 0, 1))
        never.wait()

    handler = FakeHandler(publish)
    running = RunningService(handler, stop_s=0.1)
    running.start()
    wait_until(lambda: bool(handler.handled), "request")
    with caplog.at_level(logging.WARNING):
        running.stop()
    assert "publishing did not end within 0.1 s" in caplog.text
    # The command ends the process in this case.
    assert not running.service.has_ended
    assert running.consumer.committed == 0
    never.set()


PHASES_IN_ORDER = (
    "waiting",
    "reading",
    "pretraining",
    "features",
    "heads",
    "fine_tuning",
    "publishing",
    "announcing",
    "judging",
)


@pytest.fixture
def stage(tmp_path: Path, tiny_network: TwoHeadedNetwork, tiny_base: Path) -> Stage:
    made = Stage(tmp_path, tiny_network, tiny_base, examples())
    training = replace(made.config.training, epochs=3, pretraining=Pretraining(epochs=0.5), heads_first=True)
    made.config = replace(made.config, training=training)
    return made


def test_a_request_stopped_in_every_phase_is_promoted_once(stage: Stage) -> None:
    for phase in (*PHASES_IN_ORDER, None):
        stopped = run_until_stopped_in(stage, phase)
        assert stopped.consumer.committed == (phase is None), phase
        assert stopped.service.has_ended, phase
    first, promoted = [promotion.version for _, promotion in stage.registry.history()]
    assert stage.registry.versions() == sorted([first, promoted])
    # The phase "retrying" has its own test.
    assert {*PHASES_IN_ORDER, "retrying"} == set(PHASES)
    assert stage.times_read == 1
    assert [event for _, event, _ in stage.announced].count(PROMOTED) == 1


def run_until_stopped_in(stage: Stage, phase: str | None) -> RunningService:
    """Run a service until it is stopped in a phase, or has committed its request; return it."""

    def watch(progress: Progress) -> None:
        if phase_of(progress.stage) == phase and progress.done < max(2, progress.total):
            running.service.stop()
        running.service.on_progress(progress)

    def read(ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        running.service.check()
        return stage.read(ranges, older)

    config: RequestConfig = stage.config
    handler = RequestHandler(stage.registry, read, stage.announce, config, progress=watch)
    running = RunningService(handler, requests=[Codec(TrainingRequest).encode(REQUEST)], max_tries=1)
    if phase == "waiting":
        running.consumer.values = []
    running.start()
    if phase == "waiting":
        wait_until(lambda: bool(running.consumer.assignment()), "partition")
        running.stop()
    elif phase is None:
        wait_until(lambda: running.consumer.committed == 1, "commit")
        running.stop()
    else:
        running.join()
    return running
