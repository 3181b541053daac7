"""Workers that are killed, paused, stopped gracefully, and that join and leave."""

import random
import signal
import time
from pathlib import Path

from tests.faults.case import case
from tests.faults.inside import Inside
from tests.faults.process import ForkedWorker
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for

_PAUSE_BOUND_S = 20.0  # session, rebalance and recovery, on a busy machine


@case("SIGKILL at 20 random moments, one of two workers", limit_s=300)
def sigkill(stage: Stage) -> None:
    draw = random.Random(5)  # noqa: S311
    workers = stage.create_topics().start("a", "b")
    stage.feed()
    stage.wait_for_more(200)
    for kill in range(20):
        time.sleep(draw.uniform(0.05, 2.0))
        worker = workers[draw.randrange(2)]
        began = time.monotonic()
        worker.kill()
        worker.start()
        if kill % 5 == 4:
            stage.wait_until_caught_up(began)
            stage.check_offsets()


@case("SIGKILL between the transaction and the local write, and inside the transaction", quick=True)
def sigkill_around_a_commit(stage: Stage) -> None:
    draw = random.Random(6)  # noqa: S311
    stage.create_topics()
    worker = stage.worker("a")
    stage.feed()
    for _ in range(2):
        for dying in (
            Inside(die_after_commit=draw.randrange(2, 30)),
            Inside(die_in_transaction=draw.randrange(2, 30)),
        ):
            began = time.monotonic()
            worker.inside = dying
            worker.start()
            assert worker.wait(60) == -signal.SIGKILL
    worker.inside = Inside()
    worker.start()
    stage.wait_until_caught_up(began)


@case("SIGTERM, and a rolling restart of two workers")
def rolling_restart(stage: Stage) -> None:
    workers = stage.create_topics().start("a", "b")
    stage.feed()
    stage.wait_for_more(300)
    for worker in workers:
        began = time.monotonic()
        assert worker.terminate() == 0
        stage.wait_until_caught_up(began)
        stage.check_offsets()
        began = time.monotonic()
        worker.start().wait_until_ready()
        stage.wait_until_caught_up(began)
    assert stage.answers.longest_pause_s() < _PAUSE_BOUND_S


@case("2, 3, 2, 1 workers under load")
def members_come_and_go(stage: Stage) -> None:
    first, second = stage.create_topics().start("a", "b")
    stage.feed()
    stage.wait_for_more(300)
    began = time.monotonic()
    (third,) = stage.start("c")
    stage.wait_until_caught_up(began)
    for leaving in (first, third):
        began = time.monotonic()
        assert leaving.terminate() == 0
        stage.wait_until_caught_up(began)
        stage.check_offsets()
    wait_for(lambda: _partitions(second) == stage.partitions, "every partition at the last worker")
    served = {where[1] for where in stage.answers.seen}
    assert served == set(range(stage.partitions))
    assert stage.answers.longest_pause_s() < _PAUSE_BOUND_S


def _partitions(worker: ForkedWorker) -> int:
    """Return the number of event partitions of a worker, by its metrics."""
    lines = worker.page("/metrics")[1].splitlines()
    return sum(line.startswith("sway_lag_records{") and '.events"' in line for line in lines)


@case("a worker stopped past its session, and woken")
def stopped_past_its_session(stage: Stage) -> None:
    _first, second = stage.create_topics().start("a", "b")
    stage.feed()
    stage.wait_for_more(300)
    began = time.monotonic()
    second.process.send_signal(signal.SIGSTOP)
    stage.wait_until_caught_up(began)
    stage.wait_for_more(300)
    epochs = second.log_text().count("partitions ready")
    second.process.send_signal(signal.SIGCONT)
    wait_for(
        lambda: second.log_text().count("partitions ready") > epochs,
        "the second worker to be back",
        timeout_s=60,
    )
    stage.wait_for_more(300)


@case("a worker stopped in the middle of a commit past its session, and woken")
def stopped_in_a_commit(stage: Stage) -> None:
    (_first,) = stage.create_topics().start("a")
    marker = Path(stage.folder) / "in-commit"
    second = stage.worker("b", Inside(pause_in_transaction_s=0.5, marker=marker)).start()
    second.wait_until_ready()
    stage.feed()
    stage.wait_for_more(300)
    for _ in range(2):
        wait_for(marker.exists, "a commit of the second")
        marker.unlink()
    wait_for(marker.exists, "another commit of the second")
    began = time.monotonic()
    second.process.send_signal(signal.SIGSTOP)
    stage.wait_until_caught_up(began)
    stage.check_offsets()
    # The broker has aborted its transaction after the timeout. It wakes with a fenced producer, creates another one,
    # and rejoins its group.
    epochs = second.log.read_text().count("partitions ready")
    second.process.send_signal(signal.SIGCONT)
    wait_for(
        lambda: second.log_text().count("partitions ready") > epochs,
        "the second worker to be back",
        timeout_s=60,
    )
    stage.wait_for_more(300)
