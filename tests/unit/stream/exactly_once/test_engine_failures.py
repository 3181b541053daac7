"""How the engine ends, drops unused stores and detects stalls."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.exactly_once.kafka.store import StateFolder
from stream.exactly_once.units.errors import (
    FatalTransactionError,
    StartError,
    StateFormatError,
    StoreError,
)
from tests.support.running_engine import Running, until

NewWorker = Callable[..., Running]


@pytest.mark.parametrize(
    ("failure", "traced"), [(StateFormatError("newer"), False), (StoreError("disk"), True)]
)
async def test_only_unexpected_failures_are_logged_with_a_traceback(
    worker: NewWorker, caplog: pytest.LogCaptureFixture, failure: Exception, traced: bool
) -> None:
    async with worker() as w:
        await w.begin()
        await w.engine.fail(failure)
    (logged,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert logged.getMessage() == f"The worker ends: {type(failure).__name__}: {failure}"
    assert bool(logged.exc_info) == traced


@pytest.mark.parametrize("where", ["scorer", "finish", "writer"])
async def test_a_failure_ends_the_process_without_further_commits(worker: NewWorker, where: str) -> None:
    async with worker(at_once=False, max_records=1) as w:
        failure = FatalTransactionError("broken")
        await w.begin()
        w.take(0, "a", "b")
        if where == "scorer":
            w.scorer.submitted[0][1].set_exception(failure)
        elif where == "finish":
            w.program.finish_fails = failure
            w.scorer.score(0)
        else:
            w.writer.fails = [failure]
            w.scorer.score(0)
        await until(lambda: bool(w.driver.crashed))
        w.scorer.score(1)
        await w.engine.fail(ValueError("a second reason"))
        await asyncio.sleep(0.01)
        assert w.driver.crashed == [w.engine.failure] == [failure]
        assert w.writer.commits == []
        w.take(2, "c")
        assert len(w.scorer.submitted) == 2


async def test_a_failed_close_ends_the_process_and_closes_other_stores(
    worker: NewWorker,
) -> None:
    async with worker() as w:
        w.assign(0, 1)
        await until(lambda: bool(w.driver.starts))
        stores = dict(w.engine._stores)

        def fail() -> None:
            raise StoreError("no room")

        closed = stores[1].close
        stores[0].close = fail  # type: ignore[method-assign]
        stores[1].close = lambda: (closed(), stores.pop(1))  # type: ignore[method-assign,assignment]
        await w.engine.revoke()
        assert list(stores) == [0]
        assert [str(reason) for reason in w.driver.crashed] == ["no room"]


async def test_stopping_commits_scored_units_and_unlocks_the_folder(
    worker: NewWorker, tmp_path: Path
) -> None:
    async with worker(linger_s=60) as w:
        await w.begin()
        w.take(0, "a")
        with pytest.raises(StartError):
            StateFolder(tmp_path / "state").open(None)
        await w.engine.stop()
        assert len(w.writer.scores()) == 1
        other = StateFolder(tmp_path / "state")
        other.open(None)
        other.close()


async def test_unused_stores_are_dropped_at_assignment_and_periodically(
    worker: NewWorker, tmp_path: Path
) -> None:
    async with worker() as w:
        w.folder = StateFolder(tmp_path / "state", drop_unused_after_s=60)
        w.engine._folder = w.folder
        hour_ago_s = time.time() - 3_600
        for number in (0, 7, 8):
            w.folder.open_store(number, 1).close()
            os.utime(w.folder.partition(number), (hour_ago_s, hour_ago_s))
        os.utime(w.folder.partition(8))
        await w.begin(0)
        assert [w.folder.partition(number).exists() for number in (0, 7, 8)] == [True, False, True]
        for number in (0, 8):
            os.utime(w.folder.partition(number), (hour_ago_s, hour_ago_s))
        await w.engine.drop_unused_stores()
        assert [w.folder.partition(number).exists() for number in (0, 7, 8)] == [True, False, False]
        w.take(0, "a")
        await w.idle()
        assert len(w.writer.scores()) == 1


async def test_only_work_without_progress_counts_as_stalled(worker: NewWorker) -> None:
    async with worker(at_once=False, max_records=1) as w:
        w.engine.stats.last_progress -= 100
        assert w.engine.stalled_s(0) == pytest.approx(0, abs=1)  # idle
        await w.begin()
        w.engine.stats.last_progress -= 100
        assert w.engine.stalled_s(5) > 99  # something to fetch
        w.take(0, "a", "b")
        assert w.engine.stalled_s(0) > 99  # something in flight
        w.scorer.score(0)
        await until(lambda: bool(w.committed))
        assert w.engine.stalled_s(0) < 50
        w.scorer.score(1)
