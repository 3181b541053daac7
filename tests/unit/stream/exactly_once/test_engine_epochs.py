"""What the engine commits and drops when an epoch ends, by fencing or by revocation."""

import asyncio
import time
from collections.abc import Callable

import pytest

from stream.exactly_once.units.errors import (
    FencedError,
    GroupMetadataError,
    TransactionEndedError,
)
from stream.exactly_once.units.records import Epoch, TopicPartition
from tests.support.running_engine import EVENTS, Running, until

NewWorker = Callable[..., Running]


# --- fencing --------------------------------------------------------------------------------------------


async def test_a_fenced_unit_drops_later_units_and_ends_intake(worker: NewWorker) -> None:
    async with worker(at_once=False, max_records=1) as w:
        epoch = await w.begin()
        w.take(0, "a", "b", "c")
        w.scorer.score(0)
        await until(lambda: w.numbers == [1])
        w.writer.fails = [FencedError("moved on")]
        w.scorer.score(1)
        await w.idle()
        assert w.numbers == [1]
        assert w.scorer.submitted[2][1].cancelled()
        assert (w.engine.stats.fenced_units, w.engine.stats.dropped_records) == (1, 2)
        w.take(3, "zombie", epoch=epoch)
        await asyncio.sleep(0.01)
        assert len(w.scorer.submitted) == 3
        assert w.engine.failure is None  # the next epoch reads the records again
        assert w.engine.state == "rebalancing"  # so /readyz does not report that records are processed

        await w.engine.revoke()
        await w.begin()
        assert w.driver.starts[-1][TopicPartition(EVENTS, 0)] == 1
        w.take(1, "b", "c")
        w.scorer.score(3)
        w.scorer.score(4)
        await w.idle()
        assert w.writer.scores() == {
            "t.events[0]@0": (b"a",),
            "t.events[0]@1": (b"a", b"b"),
            "t.events[0]@2": (b"a", b"b", b"c"),
        }


@pytest.mark.parametrize(("error", "rejoins"), [(FencedError, 0), (TransactionEndedError, 1)])
async def test_the_group_is_rejoined_only_after_an_ended_transaction(
    worker: NewWorker, error: type[FencedError], rejoins: int
) -> None:
    async with worker() as w:
        await w.begin()
        w.writer.fails = [error("ended")]
        w.take(0, "a")
        w.close_units()
        await w.idle()
        assert (w.driver.rejoined, w.engine.failure, w.engine.state) == (rejoins, None, "rebalancing")
        await w.engine.revoke()
        await w.begin()
        w.take(0, "a")
        w.close_units()
        await w.idle()
        assert w.writer.scores() == {"t.events[0]@0": (b"a",)}


async def test_late_scores_of_a_dropped_unit_commit_nothing(worker: NewWorker) -> None:
    async with worker(at_once=False) as w:
        await w.begin()
        w.take(0, "a")
        jobs, future = w.scorer.submitted[0]
        future.set_running_or_notify_cancel()  # too late to cancel
        w.close_units()
        await asyncio.sleep(0.01)
        w.driver.epoch = Epoch(9, "other")
        w.engine._drop_units()
        future.set_result([values[-1] for *_, values in jobs])
        await asyncio.sleep(0.01)
        assert w.writer.commits == []
        assert w.engine.failure is None


@pytest.mark.parametrize("epoch", [Epoch(-1, "member"), Epoch(3, "")])
async def test_an_epoch_without_fencing_commits_nothing(worker: NewWorker, epoch: Epoch) -> None:
    async with worker() as w:
        w.driver.epoch = epoch
        w.engine.begin_epoch({TopicPartition(EVENTS, 0)})
        await until(lambda: bool(w.driver.starts))
        w.take(0, "a")
        await until(lambda: bool(w.driver.crashed))
        assert isinstance(w.engine.failure, GroupMetadataError)
        assert w.writer.commits == []


# --- revocation -----------------------------------------------------------------------------------------


async def test_revocation_commits_scored_units_and_the_open_unit(worker: NewWorker) -> None:
    async with worker(linger_s=60) as w:
        await w.begin()
        w.take(0, "a", "b", "c", "d")
        await w.engine.revoke()
        assert len(w.writer.scores()) == 4
        assert w.engine.stats.dropped_records == 0


async def test_revocation_drops_units_not_scored_in_time(worker: NewWorker) -> None:
    async with worker(at_once=False, max_records=1, revoke_timeout_s=0.3) as w:
        await w.begin()
        w.take(0, "a", "b", "c")
        revoked = asyncio.create_task(w.engine.revoke())
        await asyncio.sleep(0.01)
        w.scorer.score(0)  # in time; the second never is, so the third cannot be committed
        w.scorer.score(2)
        began = time.monotonic()
        await revoked
        assert time.monotonic() - began < 5
        assert list(w.writer.scores()) == ["t.events[0]@0"]
        assert w.scorer.submitted[1][1].cancelled()
        assert w.engine.stats.dropped_records == 2
        assert len(w.table.layers) == 0


async def test_revocation_waits_only_for_the_commit_in_flight(worker: NewWorker) -> None:
    async with worker(at_once=False, max_records=1, revoke_timeout_s=0.02) as w:
        await w.begin()
        w.writer.free.clear()
        w.take(0, "a", "b")
        w.scorer.score(0)
        await until(w.writer.inside.is_set)
        w.scorer.score(1)
        revoked = asyncio.create_task(w.engine.revoke())
        await asyncio.sleep(0.1)  # well past the timeout
        assert not revoked.done()
        w.writer.free.set()
        await revoked
        assert list(w.writer.scores()) == ["t.events[0]@0"]
        await w.begin()
        assert w.table.get_in(0, b"ann") == (b"a",)  # the committed state is in the store
        w.take(1, "b")
        w.scorer.score(2)
        await w.idle()
        assert w.writer.scores()["t.events[0]@1"] == (b"a", b"b")


async def test_a_fenced_commit_ends_the_revocation(worker: NewWorker) -> None:
    async with worker(max_records=1, revoke_timeout_s=0.02) as w:
        await w.begin()
        w.writer.free.clear()
        w.writer.fails = [FencedError("moved on")]
        w.take(0, "a", "b")
        await until(w.writer.inside.is_set)
        revoked = asyncio.create_task(w.engine.revoke())
        await asyncio.sleep(0.05)
        w.writer.free.set()
        await revoked
        await w.begin()
        assert w.table.get_in(0, b"ann") == ()
        w.take(0, "a", "b")
        await w.idle()
        assert len(w.writer.scores()) == 2
