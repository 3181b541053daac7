"""The trainer service continues with the next request after any verdict, and stops when asked to."""

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from model.errors import ModelCorrupt
from model.network import TwoHeadedNetwork
from schemas.errors import RegistryUnavailable
from schemas.records import OffsetRange, TrainingRequest
from schemas.wire import Codec
from tests.integration.conftest import wait_for
from tests.unit.test_trainer_request import REQUEST, Stage, examples
from tests.unit.trainer_fakes import FakeHandler, RunningService
from trainer import service
from trainer.config import Pretraining
from trainer.dataset import Example
from trainer.errors import RangeUnavailable, ServiceError
from trainer.metrics import PHASES, phase_of
from trainer.progress import Progress
from trainer.request import PROMOTED, RequestConfig, RequestHandler


def wait_until(condition: Callable[[], bool], what: str) -> None:
    wait_for(condition, what, 60)


def wait_for_event(event: threading.Event) -> None:
    event.wait()


def test_each_request_is_committed_after_its_verdict() -> None:
    release = threading.Event()
    handler = FakeHandler(lambda _: wait_for_event(release))
    running = RunningService(handler, 2)
    running.start()
    wait_until(lambda: handler.handled == ["r0"], "first request")
    assert running.consumer.committed == 0
    wait_until(lambda: running.consumer.paused, "pause")
    release.set()
    wait_until(lambda: running.consumer.committed == 2, "commit of both")
    running.stop()
    assert handler.handled == ["r0", "r1"]
    assert running.count("promoted") == 2
    assert running.service.has_ended


def test_an_undecodable_record_is_skipped_and_counted() -> None:
    handler = FakeHandler()
    running = RunningService(handler, [b"", b"no request"])
    running.start()
    wait_until(lambda: running.consumer.committed == 2, "commit of both")
    running.stop()
    assert (handler.handled, running.count("undecodable")) == ([], 2)


def test_a_request_waits_for_an_unavailable_schema_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_REGISTRY_PAUSE_S", 0.0)
    handler = FakeHandler()
    running = RunningService(handler, 2)
    decode, outages = running.service._codec.decode, [RegistryUnavailable("no answer")] * 3

    def answers_later(value: bytes | None) -> TrainingRequest:
        if outages:
            raise outages.pop()
        return decode(value)

    monkeypatch.setattr(running.service._codec, "decode", answers_later)
    running.start()
    wait_until(lambda: running.consumer.committed == 2, "commit of both")
    running.stop()
    assert handler.handled == ["r0", "r1"]


# --- failures -------------------------------------------------------------------------------------------------


def fails_for(first: str, failure: BaseException) -> FakeHandler:
    def work(asked: TrainingRequest) -> None:
        if asked.request_id == first:
            raise failure

    return FakeHandler(work)


@pytest.mark.parametrize(
    ("failure", "reason_pattern"),
    [
        (ModelCorrupt("version v-1: model.safetensors has sha256 a"), "ModelCorrupt: version v-1"),
        (RuntimeError("of a text: I like"), "RuntimeError, see the trainer's log"),
        (OSError(28, "No space left on device"), r"OSError: \[Errno 28\] No space"),
        (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), "TOPIC_AUTHORIZATION_FAILED"),
        (SystemExit(0), "SystemExit"),
    ],
    ids=lambda what: type(what).__name__ if isinstance(what, BaseException) else "",
)
def test_a_request_that_keeps_failing_is_rejected(failure: BaseException, reason_pattern: str) -> None:
    handler = fails_for("r0", failure)
    running = RunningService(handler, 2, max_tries=3)
    running.start()
    wait_until(lambda: running.consumer.committed == 2, "commit of both")
    running.stop()
    assert handler.handled == ["r0", "r0", "r0", "r1"]
    ((given_up, reason),) = handler.given_up
    assert given_up == "r0"
    assert reason.startswith("given up after 3 failed tries (trainer.max_tries), the last: ")
    assert re.search(reason_pattern, reason)
    assert "I like" not in reason
    # The work is discarded once, before the last try.
    assert handler.discarded == ["r0"]
    assert (running.count("given_up"), running.count("promoted")) == (1, 1)


OUTAGES = (
    KafkaException(KafkaError(KafkaError._TRANSPORT)),
    RangeUnavailable("no record of t.examples[0] up to 9 came for 60 s"),
    RegistryUnavailable("looking sway.models-value up: no answer"),
    TimeoutError("an announcement to sway.models was not acknowledged within 10 s"),
    OSError("the storage does not answer"),
)


@pytest.mark.parametrize("failure", OUTAGES, ids=lambda failure: type(failure).__name__)
def test_outages_do_not_count_as_failed_tries(failure: Exception) -> None:
    left = [failure] * 20

    def work(_: TrainingRequest) -> None:
        handler.storage = not (left and type(failure) is OSError)
        if left:
            raise left.pop()

    handler = FakeHandler(work)
    running = RunningService(handler, max_tries=2)
    running.start()
    wait_until(lambda: running.consumer.committed == 1, "commit")
    running.stop()
    assert (len(handler.handled), handler.given_up, handler.discarded) == (21, [], [])
    assert running.count("promoted") == 1
    assert running.service.metrics.registry.get_sample_value("sway_trainer_retries_total") == 20


def test_a_rejection_is_repeated_after_an_outage() -> None:
    class FailingAnnouncements(FakeHandler):
        def give_up(self, request: TrainingRequest, reason: str) -> Any:
            decision = super().give_up(request, reason)
            if len(self.given_up) < 5:
                raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))
            return decision

    handler = FailingAnnouncements(lambda _: (_ for _ in ()).throw(RuntimeError()))
    running = RunningService(handler, max_tries=2)
    running.start()
    wait_until(lambda: running.consumer.committed == 1, "commit")
    running.stop()
    assert len(handler.handled) == 2
    assert len({reason for _, reason in handler.given_up}) == 1
    assert len(handler.given_up) == 5


def test_a_request_whose_rejection_fails_is_retried() -> None:
    broken = [PermissionError("read-only")] * 5

    def work(_: TrainingRequest) -> None:
        if broken:
            raise broken.pop()

    class ReadOnly(FakeHandler):
        def give_up(self, request: TrainingRequest, reason: str) -> Any:
            super().give_up(request, reason)
            raise PermissionError("read-only")

    handler = ReadOnly(work)
    running = RunningService(handler, max_tries=2)
    running.start()
    wait_until(lambda: running.consumer.committed == 1, "commit")
    running.stop()
    assert running.count("promoted") == 1
    assert len(handler.given_up) == 2


def test_an_outage_in_the_last_try_keeps_the_work() -> None:
    failures: list[Exception] = [TimeoutError("no answer"), TimeoutError("no answer"), RuntimeError()]

    def work(_: TrainingRequest) -> None:
        if failures:
            raise failures.pop()

    handler = FakeHandler(work)
    running = RunningService(handler, max_tries=2)
    running.start()
    wait_until(lambda: running.consumer.committed == 1, "commit")
    running.stop()
    assert (len(handler.handled), handler.discarded) == (4, ["r0"])


# --- the group ------------------------------------------------------------------------------------------------


def test_losing_the_partition_stops_the_work_without_a_commit() -> None:
    lost = threading.Event()

    def work(_: TrainingRequest) -> None:
        if not lost.is_set():
            running.consumer.lose_partition()
            work_until_stopped(running)

    handler = FakeHandler(work)
    running = RunningService(handler)
    running.start()
    wait_until(lambda: running.service.has_ended and bool(handler.handled), "end of the work")
    assert running.consumer.committed == 0
    lost.set()
    # No other trainer has handled the request in the meantime.
    running.consumer.assign_partition()
    wait_until(lambda: running.consumer.committed == 1, "commit")
    running.stop()
    assert handler.handled == ["r0", "r0"]


def test_a_request_done_by_another_trainer_is_not_repeated() -> None:
    lost = threading.Event()

    def work(asked: TrainingRequest) -> None:
        while asked.request_id == "r0":
            running.service.check()
            lost.wait(0.002)

    handler = FakeHandler(work)
    running = RunningService(handler, 2)
    running.start()
    wait_until(lambda: handler.handled == ["r0"], "first request")
    running.consumer.lose_partition()
    wait_until(lambda: not running.consumer.assignment(), "loss of the partition")
    # The other trainer has committed the first request.
    running.consumer.committed = 1
    running.consumer.assign_partition()
    wait_until(lambda: running.consumer.committed == 2, "commit of the second")
    running.stop()
    assert handler.handled == ["r0", "r1"]


def test_a_loss_while_idle_does_not_stop_later_requests() -> None:
    handler = FakeHandler()
    running = RunningService(handler, 1)
    values, running.consumer.values = running.consumer.values, []
    running.start()
    wait_until(lambda: bool(running.consumer.assignment()), "partition")
    running.consumer.lose_partition()
    wait_until(lambda: not running.consumer.assignment(), "loss of the partition")
    running.consumer.values = values
    running.consumer.assign_partition()
    wait_until(lambda: running.consumer.committed == 1, "commit")
    running.stop()
    assert handler.handled == ["r0"]


def test_a_commit_during_a_rebalance_is_repeated() -> None:
    running = RunningService(FakeHandler())
    running.consumer.commit_errors.extend([KafkaError(KafkaError.REBALANCE_IN_PROGRESS)] * 3)
    running.start()
    wait_until(lambda: running.consumer.committed == 1, "commit")
    running.stop()


def test_partitions_are_assigned_cooperatively() -> None:
    """A trainer that joins must not take the partition from the active one."""
    running = RunningService(FakeHandler())
    assert running.consumer._config["partition.assignment.strategy"] == "cooperative-sticky"


def test_a_fatal_kafka_error_ends_the_service() -> None:
    handler = FakeHandler(lambda _: work_until_stopped(running))
    running = RunningService(handler)
    running.start()
    wait_until(lambda: bool(handler.handled), "request")
    running.consumer.poll_error = KafkaError(KafkaError._FENCED, "fenced by another", fatal=True)
    running.join()
    assert isinstance(running.failure, ServiceError)
    assert "fenced by another" in str(running.failure)
    assert running.service.has_ended
    assert running.consumer.committed == 0


def test_readiness_shows_a_group_problem_until_it_ends() -> None:
    running = RunningService(FakeHandler(), 0)
    assert running.service.not_ready_because == "starting"
    running.start()
    wait_until(lambda: running.service.not_ready_because is None, "readiness")
    running.consumer.poll_error = KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL)
    wait_until(lambda: "older release" in (running.service.not_ready_because or ""), "reason")
    running.consumer.poll_error = None
    wait_until(lambda: running.service.not_ready_because is None, "readiness")
    running.stop()


def work_until_stopped(running: RunningService) -> None:
    while True:
        running.service.check()
        threading.Event().wait(0.002)


# --- stopping -------------------------------------------------------------------------------------------------


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
        asked = run_until_stopped_in(stage, phase)
        assert asked.consumer.committed == (phase is None), phase
        assert asked.service.has_ended, phase
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
    running = RunningService(handler, [Codec(TrainingRequest).encode(REQUEST)], max_tries=1)
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
