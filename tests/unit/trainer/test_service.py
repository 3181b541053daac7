"""The trainer service continues with the next request after any verdict, and retries failed requests."""

import re
import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from model.errors import ModelCorrupt
from schemas.errors import RegistryUnavailable
from schemas.records import TrainingRequest
from tests.unit.trainer.fakes import FakeHandler, RunningService, fails_for, wait_until
from trainer import service
from trainer.errors import RangeUnavailable


def wait_for_event(event: threading.Event) -> None:
    event.wait()


def test_each_request_is_committed_after_its_verdict() -> None:
    release = threading.Event()
    handler = FakeHandler(lambda _: wait_for_event(release))
    running = RunningService(handler, requests=2)
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
    running = RunningService(handler, requests=[b"", b"no request"])
    running.start()
    wait_until(lambda: running.consumer.committed == 2, "commit of both")
    running.stop()
    assert (handler.handled, running.count("undecodable")) == ([], 2)


def test_a_request_waits_for_an_unavailable_schema_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_REGISTRY_PAUSE_S", 0.0)
    handler = FakeHandler()
    running = RunningService(handler, requests=2)
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
    running = RunningService(handler, requests=2, max_tries=3)
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
