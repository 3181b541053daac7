"""One worker process from start to end: pages, signals, Faust's own command, and a model that never answers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from schemas.records import BehaviorEvent
from sway.cli import app
from tests.faults.inside import Inside
from tests.faults.process import run
from tests.integration.conftest import wait_for
from tests.integration.workers import Sway

NOW_MS = int(time.time() * 1000)


def event(number: int) -> BehaviorEvent:
    return BehaviorEvent(f"e{number}", f"user-{number % 3}", "watch", NOW_MS, item_text="alien")


@contextmanager
def open_transaction(sway: Sway) -> Iterator[None]:
    """Open a transaction with offsets of the worker's group, as a killed worker leaves it."""
    servers = {"bootstrap.servers": sway.topics.bootstrap_servers}
    producer = Producer({**servers, "transactional.id": f"{sway.topics.prefix}-killed"})
    consumer = Consumer({**servers, "group.id": sway.topics.prefix})
    producer.init_transactions(30)
    producer.begin_transaction()
    positions = [TopicPartition(sway.topics.name("events"), 0, 0)]
    producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), 30)
    yield
    producer.abort_transaction(30)
    consumer.close()


def test_a_stuck_first_recovery_ends_the_worker(sway: Sway) -> None:
    worker = sway.create_topics().worker(SWAY_TIME__STUCK_AFTER_S=2)
    with open_transaction(sway):
        assert worker.start().wait(60) == 1
    assert "No progress for" in worker.log_text().splitlines()[-1]
    assert "while recovering 4 partitions" in worker.log_text().splitlines()[-1]


def test_a_worker_reports_its_state_and_commits_on_sigterm(
    sway: Sway, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = sway.create_topics().worker(SWAY_UNITS__LINGER_S=60)  # a unit stays open
    with open_transaction(sway):
        worker.start()
        wait_for(
            lambda: worker.page("/readyz") == (503, "recovering 4 partitions\n"), "recovery", timeout_s=60
        )
        assert worker.page("/livez") == (200, "ok\n")
        assert worker.metric("sway_ready") == 0
    worker.wait_until_ready()
    assert worker.page("/readyz") == (200, "ok\n")

    for number in range(5):
        sway.produce(event(number))
    sway.produce(b"?", key="user-1")
    sway.flush()
    wait_for(lambda: worker.metric("sway_in_flight_records") == 6, "six records in flight")
    assert worker.metric("sway_ready") == 1
    assert sway.scores() == []

    for name, value in {**sway.environment, "SWAY_STATE_DIR": str(worker.state)}.items():
        monkeypatch.setenv(name, value)
    second = CliRunner().invoke(app, ["worker"])  # on the same state folder
    assert second.exit_code == 1
    assert "in use by another worker" in second.stderr
    assert "state_dir" in second.stderr

    assert worker.terminate() == 0
    assert sorted(score.event_id for score in sway.scores()) == [f"e{number}" for number in range(5)]
    assert [letter.reason for letter in sway.dead_letters()] == ["bad_magic"]
    assert sway.stores() == sway.changelog()
    assert sum(map(len, sway.changelog().values())) == 3
    assert "Traceback" not in worker.log_text()


@pytest.mark.parametrize("command", [("sway", "worker"), ("faust", "-A", "stream.app", "worker")])
def test_a_failing_timer_ends_the_worker_with_an_error(
    sway: Sway, processes: ForkServerContext, command: tuple[str, ...]
) -> None:
    worker = sway.create_topics().worker()
    process = processes.Process(
        target=run, args=(worker.environment, Inside(timer_fails=True), str(worker.log), command)
    )
    process.start()
    process.join(60)
    assert process.exitcode in {1, 70}, process.exitcode  # 70 if its shutdown took more than 5 s
    assert "LookupError" in worker.log_text()


@pytest.mark.faults
def test_a_worker_with_a_blocked_model_ends_itself(
    sway: Sway,
) -> None:
    blocked = sway.create_topics().worker("blocked", SWAY_TIME__STUCK_AFTER_S=3)
    blocked.start(("-m", "tests.integration.blocked_worker"))
    blocked.wait_until_ready()
    for number in range(6):
        sway.produce(event(number))
    sway.flush()
    assert blocked.wait() == 1
    assert "No progress for" in blocked.log_text()
    assert "time.stuck_after_s=3" in blocked.log_text()
    assert "6 in flight" in blocked.log_text()
    assert sway.scores() == []

    faust = sway.worker("faust").start(("-m", "faust", "-A", "stream.app", "worker"))
    faust.wait_until_ready()
    sway.wait_for_answers(6)
    assert faust.terminate() == 0
    assert sorted(score.event_id for score in sway.scores()) == [f"e{number}" for number in range(6)]
