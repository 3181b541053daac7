"""Brokers that are killed, restarted cleanly or down for a minute, and coordinators that move; no worker may end."""

import time
from collections.abc import Callable
from functools import partial
from typing import cast

from sway.embedded import EmbeddedError
from tests.faults.case import case
from tests.faults.inside import Inside
from tests.faults.probe import Probe
from tests.faults.process import ForkedWorker
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for
from tests.support.kafka_cluster import EmbeddedCluster

_AWAY_S = 60.0
_RECOVERY_S = 30.0  # from when the brokers can commit again, also on a busy machine
_PAUSE_S = 0.2  # within each transaction, so that a broker can be killed during one


@case("the only broker killed and restarted, and stopped in order", own_brokers=True, limit_s=240)
def one_broker_restarted(stage: Stage) -> None:
    workers = stage.create_topics().start("a")
    stage.feed()
    kafka, probe = stage.single_kafka, stage.probe()
    # Without a kill, the restart shuts the running broker down cleanly.
    for lose in (kafka.kill, kafka.kill, lambda: None):
        stage.wait_for_more(300)
        began = time.monotonic()
        lose()
        kafka.restart()
        _recover(stage, began, workers, probe)


@case("the only broker gone for a minute", own_brokers=True, limit_s=300)
def one_broker_away(stage: Stage) -> None:
    workers = stage.create_topics().start("a")
    stage.feed()
    stage.wait_for_more(300)
    probe = stage.probe()
    stage.single_kafka.kill()
    time.sleep(_AWAY_S)
    began = time.monotonic()  # the outage itself does not count as recovery
    stage.single_kafka.restart()
    _recover(stage, began, workers, probe)


@case("one of three brokers gone and back, two workers", brokers=3, limit_s=300)
def one_of_three(stage: Stage) -> None:
    workers = stage.create_topics().start("a", "b")
    cluster = _cluster(stage)
    stage.feed()
    stage.wait_for_more(300)
    lost, probe = cluster.leader_of(stage.topics.name("events"), 0), stage.probe()
    began = time.monotonic()
    cluster.kill_broker(lost)
    _wait_for_another(lambda: cluster.leader_of(stage.topics.name("events"), 0), lost)
    _recover(stage, began, workers, probe)
    stage.wait_for_more(1000)  # while it stays down
    cluster.start_broker(lost)
    began = time.monotonic()
    _recover(stage, began, workers, probe)


@case("the coordinator of a worker's transactions killed in the middle of one", brokers=3, limit_s=300)
def transaction_coordinator(stage: Stage) -> None:
    def coordinator(worker: ForkedWorker) -> int:
        slot = (worker.state / "slot").read_text().strip()
        return _cluster(stage).coordinator_of(f"{stage.environment['SWAY_APP_ID']}-{slot}", "transaction")

    _move(stage, coordinator)


@case("the coordinator of the workers' group killed in the middle of a transaction", brokers=3, limit_s=300)
def group_coordinator(stage: Stage) -> None:
    _move(stage, lambda _worker: _cluster(stage).coordinator_of(stage.environment["SWAY_APP_ID"], "group"))


def _move(stage: Stage, coordinator: Callable[[ForkedWorker], int]) -> None:
    """Kill the coordinator while a transaction is open, restart it, and do the same with its successor."""
    marker = stage.folder / "in-a-transaction"
    workers = stage.create_topics().start("a")
    paused = stage.worker("b", Inside(pause_in_transaction_s=_PAUSE_S, marker=marker))
    paused.start()
    paused.wait_until_ready()
    workers.append(paused)
    stage.feed()
    stage.wait_for_more(300)
    probe = stage.probe()
    for _ in range(2):
        lost = coordinator(paused)
        marker.unlink(missing_ok=True)
        wait_for(marker.exists, "open transaction")
        began = time.monotonic()
        _cluster(stage).kill_broker(lost)
        _wait_for_another(partial(coordinator, paused), lost)
        _recover(stage, began, workers, probe)
        _cluster(stage).start_broker(lost)


def _wait_for_another(broker: Callable[[], int], lost: int) -> None:
    """Wait until another broker has taken over from the lost one."""

    def moved() -> bool:
        try:
            return broker() != lost
        except EmbeddedError:
            # There is no such broker at the moment.
            return False

    wait_for(moved, f"another broker in place of {lost}", timeout_s=30)


def _recover(stage: Stage, began: float, workers: list[ForkedWorker], probe: Probe) -> None:
    """Wait until the workers have caught up without a restart.

    began: when the brokers were lost, by time.monotonic. probe: measures when the brokers can commit again.
    """
    answered = probe.wait()
    stage.wait_until_caught_up(began)
    after_s = time.monotonic() - answered
    stage.after_answers_s.append(after_s)
    if after_s > _RECOVERY_S:
        # The case continues, so that its audit is complete.
        stage.problems.append(
            f"caught up {after_s:.1f} s after the brokers answered again; {_RECOVERY_S:g} s are allowed"
        )
    stage.check_offsets()
    ended = [worker.log.stem for worker in workers if not worker.runs]
    assert not ended, f"workers that ended while a broker was down: {ended}"


def _cluster(stage: Stage) -> EmbeddedCluster:
    return cast("EmbeddedCluster", stage.kafka)
