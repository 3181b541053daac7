"""Long restores, which must complete, and a stuck one, which must end its worker."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from tests.faults.case import case
from tests.faults.inside import Inside
from tests.faults.load import inputs
from tests.faults.process import ForkedWorker
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for
from tests.integration.workers import SWAY

_STUCK_AFTER_S = 3
_POLL_INTERVAL_S = 5  # aiokafka leaves its group if it does not poll for longer
_LONG_S = 20.0
_FILLERS = 300_000
_PAUSE_S = 0.5  # per poll of at most 5,000 records, so 60 times or more
_BOUNDS = {
    "SWAY_TIME__STUCK_AFTER_S": _STUCK_AFTER_S,
    "BROKER_MAX_POLL_INTERVAL": _POLL_INTERVAL_S,  # a setting of Faust
}
_ENDS_WITHIN_S = 15.0  # after _STUCK_AFTER_S without progress, on a busy machine


@case("a long restore on a new disk, many times stuck_after_s", limit_s=300)
def long_restore(stage: Stage) -> None:
    worker = _with_state_in_the_changelog_alone(stage)
    _fill(stage)
    worker.inside = Inside(restore_pause_s=_PAUSE_S)
    began = time.monotonic()
    worker.start(SWAY, **_BOUNDS)
    _wait_out(stage, worker, began)
    # One for the first start and one for this one: there was no rebalance.
    assert worker.log_text().count("partitions ready") == 2
    _continue_without_fault(stage, worker)


@case("a long restore after another worker was killed, many times stuck_after_s", limit_s=300)
def long_take_over(stage: Stage) -> None:
    (first,) = stage.create_topics().start("a")
    _answer_some(stage)
    second = stage.worker("b", Inside(restore_pause_s=_PAUSE_S)).start(SWAY, **_BOUNDS)
    second.wait_until_ready()
    _fill(stage)
    began = time.monotonic()
    first.kill()
    shutil.rmtree(first.state)
    wait_for(lambda: second.page("/readyz")[0] == 503, "the rebalance", timeout_s=60)
    _wait_out(stage, second, began)
    _continue_without_fault(stage, second)


@case("a restore that stands still: an open transaction in the changelog")
def stands_still(stage: Stage) -> None:
    worker = _with_state_in_the_changelog_alone(stage)
    with _open_transaction(stage):
        worker.start(SWAY, **_BOUNDS)
        wait_for(lambda: "to go" in worker.page("/readyz")[1], "the restore", timeout_s=60)
        began = time.monotonic()
        assert worker.wait(_STUCK_AFTER_S + _ENDS_WITHIN_S) == 1
        stage.notes["ended after"] = f"{time.monotonic() - began:.1f} s"
    last = worker.log_text().splitlines()[-1]
    assert re.search(r"No progress for \d+ s .* while recovering 4 partitions: .* to go", last), last
    _continue_without_fault(stage, worker)


def _with_state_in_the_changelog_alone(stage: Stage) -> ForkedWorker:
    """Return a stopped worker whose group has answered some load, and whose state folder is deleted."""
    (worker,) = stage.create_topics().start("a")
    _answer_some(stage)
    worker.kill()
    shutil.rmtree(worker.state)
    return worker


def _answer_some(stage: Stage) -> None:
    stage.feed()
    stage.wait_for_more(300)
    stage.stop_feeding()
    wait_for(lambda: stage.answers.read() >= stage.due(), "all answers", timeout_s=60)


def _continue_without_fault(stage: Stage, worker: ForkedWorker) -> None:
    """Restart the worker without faults and with the default limits, and wait until it has caught up."""
    began = time.monotonic()
    if worker.runs:
        assert worker.terminate() == 0
    worker.inside = Inside()
    worker.start()
    stage.feed(source=inputs(seed=8))
    stage.wait_until_caught_up(began)
    stage.check_offsets()


def _wait_out(stage: Stage, worker: ForkedWorker, began: float) -> None:
    """Wait until a worker is ready; check that this takes long, and that /readyz, /metrics and the log report it."""
    to_go_by_page: dict[str, list[float]] = {"/readyz": [], "/metrics": []}

    def ready() -> bool:
        assert worker.runs, f"the worker ended: {worker.log_text().splitlines()[-1]}"
        status, text = worker.page("/readyz")
        if found := re.search(r"partition 0: [\d,]+ records read, at most ([\d,]+) to go", text):
            to_go_by_page["/readyz"].append(float(found[1].replace(",", "")))
            to_go_by_page["/metrics"].append(worker.metric('sway_recovery_records_to_go{partition="0"}'))
        return status == 200

    wait_for(ready, "the end of the restore", timeout_s=150)
    took_s = time.monotonic() - began
    assert took_s > _LONG_S, f"the restore took only {took_s:.1f} s"
    assert to_go_by_page["/readyz"] == sorted(to_go_by_page["/readyz"], reverse=True)
    for page, to_go in to_go_by_page.items():
        assert len(set(to_go)) > 5, f"{page} reported {to_go}"
    assert "Recovering: " in worker.log_text()
    restored = re.findall(r"(\d+) changelog records recovered", worker.log_text())[-1]
    stage.notes["restored"] = f"{int(restored):,} records in {took_s:.0f} s"


@contextmanager
def _filling(stage: Stage) -> Iterator[Producer]:
    """Yield a producer with an open transaction, which the caller commits or aborts."""
    producer = Producer(
        {
            "bootstrap.servers": stage.topics.bootstrap_servers,
            "transactional.id": f"{stage.topics.prefix}-filler",
            "queue.buffering.max.messages": _FILLERS + 1,
            "linger.ms": 20,
        }
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    yield producer


def _changelog(stage: Stage) -> str:
    return f"{stage.topics.prefix}-windows-changelog"


def _fill(stage: Stage) -> None:
    """Write records without effect to the changelog: deletions of unknown users."""
    with _filling(stage) as producer:
        for number in range(_FILLERS):
            producer.produce(_changelog(stage), None, f"filler-{number}", partition=number % stage.partitions)
        producer.commit_transaction(60)


@contextmanager
def _open_transaction(stage: Stage) -> Iterator[None]:
    """Keep another producer's transaction open in each partition of the changelog."""
    with _filling(stage) as producer:
        for partition in range(stage.partitions):
            producer.produce(_changelog(stage), None, "filler", partition=partition)
        assert producer.flush(30) == 0
        yield
        producer.abort_transaction(30)
