"""Every event is once in the scores and once in the state, despite killed and paused workers and deleted state."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sway.embedded import EmbeddedKafka
from tests.exactly_once.harness import Audit, ToyCluster, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.faults]

RATE = 600.0
NewCluster = Callable[..., ToyCluster]


@pytest.fixture
def new_cluster(kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[NewCluster]:
    """Create toy clusters with small units, so that several are open at once."""
    made: list[ToyCluster] = []

    def make(**options: Any) -> ToyCluster:
        limits = {"unit_max_records": 50, "unit_linger_s": 0.01, **options.pop("limits", {})}
        cluster = ToyCluster(
            kafka.bootstrap_servers,
            f"toy{time.time_ns()}",
            tmp_path,
            limits=limits,
            **{"delay_s": 0.0002, **options},
        )
        made.append(cluster)
        return cluster

    yield make
    for cluster in made:
        cluster.__exit__()


def check(audit: Audit) -> None:
    assert (audit.lost, audit.doubled) == (0, 0), audit
    assert audit.scores == audit.produced
    assert not audit.problems, audit.problems[:5]


def test_a_worker_killed_repeatedly_under_load(new_cluster: NewCluster) -> None:
    cluster = new_cluster()
    worker = cluster.worker("a").start()
    cluster.feed(RATE)
    for kill in range(4):
        cluster.wait_for_scores(cluster.scores() + 300)
        worker.kill()
        if kill == 2:
            shutil.rmtree(cluster.folder / "a")  # the state is rebuilt from the changelog, under a new slot
        worker.start()
    cluster.finish_feeding()
    cluster.wait_for_all()
    check(cluster.audit())


def test_one_of_two_workers_killed_and_restarted(new_cluster: NewCluster) -> None:
    cluster = new_cluster()
    first, second = cluster.worker("a").start(), cluster.worker("b").start()
    cluster.feed(RATE)
    wait_for(
        "both to have partitions",
        lambda: bool(first.log_count("2 partitions ready") and second.log_count("2 part")),
    )
    cluster.wait_for_scores(500)
    second.kill()
    wait_for(
        "the first to take over", lambda: first.log_count("4 partitions ready") >= 1 + first_alone(first)
    )
    cluster.wait_for_scores(cluster.scores() + 500)
    second.start()
    wait_for("the second to be back", lambda: second.log_count("2 partitions ready") >= 2)
    cluster.wait_for_scores(cluster.scores() + 500)
    cluster.finish_feeding()
    cluster.wait_for_all()
    check(cluster.audit())


def test_a_worker_paused_past_its_session(new_cluster: NewCluster) -> None:
    cluster = new_cluster(delay_s=0.001)  # slower than the feed: the paused worker has units in every stage
    first, second = cluster.worker("a").start(), cluster.worker("b").start()
    cluster.feed(RATE)
    wait_for(
        "both to have partitions",
        lambda: bool(first.log_count("2 partitions ready") and second.log_count("2 part")),
    )
    cluster.wait_for_scores(500)
    second.signal(signal.SIGSTOP)
    wait_for(
        "the first to take over", lambda: first.log_count("4 partitions ready") >= 1 + first_alone(first)
    )
    cluster.wait_for_scores(cluster.scores() + 1000)
    second.signal(signal.SIGCONT)
    cluster.finish_feeding()
    cluster.wait_for_all()
    check(cluster.audit())


def first_alone(worker: Any) -> int:
    """Return how often the worker had all partitions before it shared them."""
    log: str = worker.log.read_text()
    return log.split("2 partitions ready")[0].count("4 partitions ready")


def test_a_worker_paused_within_a_commit(new_cluster: NewCluster, tmp_path: Path) -> None:
    cluster = new_cluster(limits={"transaction_timeout_s": 10.0})
    marker = tmp_path / "in-commit"
    first = cluster.worker("a").start()
    second = cluster.worker("b").start(commit_pause_s=0.5, marker=str(marker))
    cluster.feed(RATE)
    wait_for(
        "both to have partitions",
        lambda: bool(first.log_count("2 partitions ready") and second.log_count("2 part")),
    )
    wait_for("the second to be inside a commit", marker.exists)
    marker.unlink()
    wait_for("the second to be inside another commit", marker.exists)
    second.signal(signal.SIGSTOP)
    # Its session expires, the group rebalances, and the broker aborts its transaction, which contains offsets.
    wait_for(
        "the first to take over",
        lambda: first.log_count("4 partitions ready") >= 1 + first_alone(first),
        timeout_s=90,
    )
    cluster.wait_for_scores(cluster.scores() + 200)
    second.signal(signal.SIGCONT)
    cluster.finish_feeding()
    cluster.wait_for_all()
    check(cluster.audit())


def test_a_third_worker_joins_and_leaves(new_cluster: NewCluster) -> None:
    cluster = new_cluster()
    workers = [cluster.worker(name).start() for name in "ab"]
    cluster.feed(RATE)
    wait_for("both to have partitions", lambda: all(w.log_count("2 partitions ready") for w in workers))
    cluster.wait_for_scores(500)
    third = cluster.worker("c").start()
    wait_for("the third to have a partition", lambda: third.log_count("1 partitions ready") > 0)
    cluster.wait_for_scores(cluster.scores() + 500)
    third.stop()
    cluster.wait_for_scores(cluster.scores() + 500)
    cluster.finish_feeding()
    cluster.wait_for_all()
    check(cluster.audit())
