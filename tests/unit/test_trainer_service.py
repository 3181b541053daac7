"""The trainer service goes on with the next request whatever became of one, and ends when it is asked to."""

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
from tests.unit.trainer_fakes import FakeHandler, Running
from trainer import service
from trainer.config import Pretraining
from trainer.dataset import Example
from trainer.errors import RangeUnavailable, ServiceError
from trainer.metrics import PHASES, phase_of
from trainer.progress import Progress
from trainer.request import PROMOTED, RequestConfig, RequestHandler


def until(condition: Callable[[], bool], what: str) -> None:
    wait_for(condition, what, 60)


def _wait(event: threading.Event) -> None:
    event.wait()


def test_each_request_is_committed_when_it_has_come_to_its_end() -> None:
    release = threading.Event()
    handler = FakeHandler(lambda _: _wait(release))
    on = Running(handler, 2)
    on.start()
    until(lambda: handler.handled == ["r0"], "first request")
    assert on.consumer.committed == 0
    until(lambda: on.consumer.paused, "pause")
    release.set()
    until(lambda: on.consumer.committed == 2, "commit of both")
    on.stop()
    assert handler.handled == ["r0", "r1"]
    assert on.count("promoted") == 2
    assert on.service.has_ended


def test_a_record_that_is_no_request_is_passed_over_and_counted() -> None:
    handler = FakeHandler()
    on = Running(handler, [b"", b"no request"])
    on.start()
    until(lambda: on.consumer.committed == 2, "commit of both")
    on.stop()
    assert (handler.handled, on.count("undecodable")) == ([], 2)


def test_a_request_waits_for_a_schema_registry_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_REGISTRY_PAUSE_S", 0.0)
    handler = FakeHandler()
    on = Running(handler, 2)
    decode, away = on.service._codec.decode, [RegistryUnavailable("no answer")] * 3

    def answers_later(value: bytes | None) -> TrainingRequest:
        if away:
            raise away.pop()
        return decode(value)

    monkeypatch.setattr(on.service._codec, "decode", answers_later)
    on.start()
    until(lambda: on.consumer.committed == 2, "commit of both")
    on.stop()
    assert handler.handled == ["r0", "r1"]


# --- failures -------------------------------------------------------------------------------------------------


def fails_for(first: str, failure: BaseException) -> FakeHandler:
    def work(asked: TrainingRequest) -> None:
        if asked.request_id == first:
            raise failure

    return FakeHandler(work)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (ModelCorrupt("version v-1: model.safetensors has sha256 a"), "ModelCorrupt: version v-1"),
        (RuntimeError("of a text: I like"), "RuntimeError, see the trainer's log"),
        (OSError(28, "No space left on device"), r"OSError: \[Errno 28\] No space"),
        (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), "TOPIC_AUTHORIZATION_FAILED"),
        (SystemExit(0), "SystemExit"),
    ],
    ids=lambda what: type(what).__name__ if isinstance(what, BaseException) else "",
)
def test_a_request_that_fails_each_time_is_rejected_and_the_next_has_its_turn(
    failure: BaseException, told: str
) -> None:
    handler = fails_for("r0", failure)
    on = Running(handler, 2, max_tries=3)
    on.start()
    until(lambda: on.consumer.committed == 2, "commit of both")
    on.stop()
    assert handler.handled == ["r0", "r0", "r0", "r1"]
    ((given_up, reason),) = handler.given_up
    assert given_up == "r0"
    assert reason.startswith("given up after 3 failed tries (trainer.max_tries), the last: ")
    assert re.search(told, reason)
    assert "I like" not in reason
    assert handler.begun_anew == ["r0"]  # before the last try
    assert (on.count("given_up"), on.count("promoted")) == (1, 1)


AWAY = (
    KafkaException(KafkaError(KafkaError._TRANSPORT)),
    RangeUnavailable("no record of t.examples[0] up to 9 came for 60 s"),
    RegistryUnavailable("looking sway.models-value up: no answer"),
    TimeoutError("an announcement to sway.models was not acknowledged within 10 s"),
    OSError("the storage does not answer"),
)


@pytest.mark.parametrize("failure", AWAY, ids=lambda failure: type(failure).__name__)
def test_an_outage_is_waited_out_however_often_it_is_met(failure: Exception) -> None:
    left = [failure] * 20

    def work(_: TrainingRequest) -> None:
        handler.storage = not (left and type(failure) is OSError)
        if left:
            raise left.pop()

    handler = FakeHandler(work)
    on = Running(handler, max_tries=2)
    on.start()
    until(lambda: on.consumer.committed == 1, "commit")
    on.stop()
    assert (len(handler.handled), handler.given_up, handler.begun_anew) == (21, [], [])
    assert on.count("promoted") == 1
    assert on.service.metrics.registry.get_sample_value("sway_trainer_retries_total") == 20


def test_a_rejection_that_cannot_be_told_yet_is_told_later() -> None:
    class Away(FakeHandler):
        def give_up(self, request: TrainingRequest, reason: str) -> Any:
            decision = super().give_up(request, reason)
            if len(self.given_up) < 5:
                raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))
            return decision

    handler = Away(lambda _: (_ for _ in ()).throw(RuntimeError()))
    on = Running(handler, max_tries=2)
    on.start()
    until(lambda: on.consumer.committed == 1, "commit")
    on.stop()
    assert len(handler.handled) == 2
    assert len({reason for _, reason in handler.given_up}) == 1
    assert len(handler.given_up) == 5


def test_a_request_whose_rejection_cannot_be_written_is_tried_again() -> None:
    broken = [PermissionError("read-only")] * 5

    def work(_: TrainingRequest) -> None:
        if broken:
            raise broken.pop()

    class ReadOnly(FakeHandler):
        def give_up(self, request: TrainingRequest, reason: str) -> Any:
            super().give_up(request, reason)
            raise PermissionError("read-only")

    handler = ReadOnly(work)
    on = Running(handler, max_tries=2)
    on.start()
    until(lambda: on.consumer.committed == 1, "commit")
    on.stop()
    assert on.count("promoted") == 1
    assert len(handler.given_up) == 2


def test_an_outage_in_the_last_try_does_not_delete_the_work_again() -> None:
    failures: list[Exception] = [TimeoutError("no answer"), TimeoutError("no answer"), RuntimeError()]

    def work(_: TrainingRequest) -> None:
        if failures:
            raise failures.pop()

    handler = FakeHandler(work)
    on = Running(handler, max_tries=2)
    on.start()
    until(lambda: on.consumer.committed == 1, "commit")
    on.stop()
    assert (len(handler.handled), handler.begun_anew) == (4, ["r0"])


# --- the group ------------------------------------------------------------------------------------------------


def test_a_trainer_that_loses_the_partition_stops_the_work_and_commits_nothing() -> None:
    lost = threading.Event()

    def work(_: TrainingRequest) -> None:
        if not lost.is_set():
            on.consumer.lose()
            _until_stopped(on)

    handler = FakeHandler(work)
    on = Running(handler)
    on.start()
    until(lambda: on.service.has_ended and bool(handler.handled), "end of the work")
    assert on.consumer.committed == 0
    lost.set()
    on.consumer.gain()  # nobody else has done it meanwhile
    until(lambda: on.consumer.committed == 1, "commit")
    on.stop()
    assert handler.handled == ["r0", "r0"]


def test_a_request_that_another_trainer_has_done_meanwhile_is_not_done_again() -> None:
    lost = threading.Event()

    def work(asked: TrainingRequest) -> None:
        while asked.request_id == "r0":
            on.service.check()
            lost.wait(0.002)

    handler = FakeHandler(work)
    on = Running(handler, 2)
    on.start()
    until(lambda: handler.handled == ["r0"], "first request")
    on.consumer.lose()
    until(lambda: not on.consumer.assignment(), "loss of the partition")
    on.consumer.committed = 1  # by the other
    on.consumer.gain()
    until(lambda: on.consumer.committed == 2, "commit of the second")
    on.stop()
    assert handler.handled == ["r0", "r1"]


def test_a_loss_while_nothing_is_done_does_not_stop_the_next_request() -> None:
    handler = FakeHandler()
    on = Running(handler, 1)
    values, on.consumer.values = on.consumer.values, []
    on.start()
    until(lambda: bool(on.consumer.assignment()), "partition")
    on.consumer.lose()
    until(lambda: not on.consumer.assignment(), "loss of the partition")
    on.consumer.values = values
    on.consumer.gain()
    until(lambda: on.consumer.committed == 1, "commit")
    on.stop()
    assert handler.handled == ["r0"]


def test_a_commit_that_meets_a_rebalance_is_repeated() -> None:
    on = Running(FakeHandler())
    on.consumer.commit_errors.extend([KafkaError(KafkaError.REBALANCE_IN_PROGRESS)] * 3)
    on.start()
    until(lambda: on.consumer.committed == 1, "commit")
    on.stop()


def test_only_one_trainer_of_a_group_needs_the_partition() -> None:
    """A trainer that joins must take nothing from the one that works."""
    on = Running(FakeHandler())
    assert on.consumer._config["partition.assignment.strategy"] == "cooperative-sticky"


def test_what_kafka_refuses_for_good_ends_the_service_and_the_work() -> None:
    handler = FakeHandler(lambda _: _until_stopped(on))
    on = Running(handler)
    on.start()
    until(lambda: bool(handler.handled), "request")
    on.consumer.trouble = KafkaError(KafkaError._FENCED, "fenced by another", fatal=True)
    on.join()
    assert isinstance(on.failure, ServiceError)
    assert "fenced by another" in str(on.failure)
    assert on.service.has_ended
    assert on.consumer.committed == 0


def test_a_problem_with_the_group_is_told_by_readiness_until_it_is_over() -> None:
    on = Running(FakeHandler(), 0)
    assert on.service.not_ready_because == "starting"
    on.start()
    until(lambda: on.service.not_ready_because is None, "readiness")
    on.consumer.trouble = KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL)
    until(lambda: "older release" in (on.service.not_ready_because or ""), "reason")
    on.consumer.trouble = None
    until(lambda: on.service.not_ready_because is None, "readiness")
    on.stop()


def _until_stopped(on: Running) -> None:
    while True:
        on.service.check()
        threading.Event().wait(0.002)


# --- stopping -------------------------------------------------------------------------------------------------


def test_a_stop_in_a_pause_between_tries_does_not_wait_for_its_end() -> None:
    handler = fails_for("r0", RuntimeError())
    on = Running(handler, max_tries=9, retry_pauses_s=(3600.0,))
    on.start()
    until(lambda: on.service.not_ready_because is not None and bool(handler.handled), "failure")
    until(lambda: "RuntimeError" in (on.service.not_ready_because or ""), "reason on /readyz")
    on.stop()
    assert on.consumer.committed == 0
    assert on.service.has_ended


def test_a_call_that_does_not_return_is_abandoned_after_its_time(caplog: pytest.LogCaptureFixture) -> None:
    never = threading.Event()

    def publish(_: TrainingRequest) -> None:
        on.service.on_progress(Progress("publishing", 0, 1))
        never.wait()

    handler = FakeHandler(publish)
    on = Running(handler, stop_s=0.1)
    on.start()
    until(lambda: bool(handler.handled), "request")
    with caplog.at_level(logging.WARNING):
        on.stop()
    assert "publishing did not end within 0.1 s" in caplog.text
    assert not on.service.has_ended  # the command ends the process then
    assert on.consumer.committed == 0
    never.set()


IN_ORDER = (
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


def test_stopped_in_every_phase_it_resumes_and_comes_to_one_promotion(stage: Stage) -> None:
    for phase in (*IN_ORDER, None):
        asked = _stop_in(stage, phase)
        assert asked.consumer.committed == (phase is None), phase
        assert asked.service.has_ended, phase
    first, promoted = [promotion.version for _, promotion in stage.registry.history()]
    assert stage.registry.versions() == sorted([first, promoted])
    assert {*IN_ORDER, "retrying"} == set(PHASES)  # that one has a test of its own
    assert stage.times_read == 1
    assert [event for _, event, _ in stage.announced].count(PROMOTED) == 1


def _stop_in(stage: Stage, phase: str | None) -> Running:
    """Run a service until it is stopped in a phase, or has committed its request; return it."""

    def watch(progress: Progress) -> None:
        if phase_of(progress.stage) == phase and progress.done < max(2, progress.total):
            on.service.stop()
        on.service.on_progress(progress)

    def read(ranges: Sequence[OffsetRange], older: int) -> tuple[list[Example], list[Example]]:
        on.service.check()
        return stage.read(ranges, older)

    config: RequestConfig = stage.config
    handler = RequestHandler(stage.registry, read, stage.announce, config, progress=watch)
    on = Running(handler, [Codec(TrainingRequest).encode(REQUEST)], max_tries=1)
    if phase == "waiting":
        on.consumer.values = []
    on.start()
    if phase == "waiting":
        until(lambda: bool(on.consumer.assignment()), "partition")
        on.stop()
    elif phase is None:
        until(lambda: on.consumer.committed == 1, "commit")
        on.stop()
    else:
        on.join()
    return on
