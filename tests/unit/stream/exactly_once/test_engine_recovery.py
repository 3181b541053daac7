"""The engine during recovery: intake waits, epochs may end, and progress is reported."""

import asyncio
from collections.abc import Callable
from functools import partial

from stream.exactly_once.units.errors import (
    FencedError,
    OffsetOutOfRangeError,
)
from stream.exactly_once.units.records import TopicPartition
from tests.support.running_engine import EVENTS, NOTES, Running, until

NewWorker = Callable[..., Running]


async def test_no_record_is_taken_before_recovery_ends(worker: NewWorker) -> None:
    async with worker() as w:
        w.recovered.clear()
        w.assign(0)
        await until(w.recovering.is_set)
        assert w.engine.state == "recovering 1 partitions"
        assert not w.engine.ready.is_set()
        w.take(0, "too early")
        w.recovered.set()
        await until(w.engine.ready.is_set)
        assert w.engine.state == "running"
        w.take(0, "a")
        await w.idle()
        assert w.writer.scores() == {"t.events[0]@0": (b"a",)}


async def test_revocation_cancels_a_recovery_at_once(
    worker: NewWorker,
) -> None:
    async with worker() as w:
        w.recovered.clear()
        w.assign(0)
        await until(w.recovering.is_set)
        async with asyncio.timeout(2):
            # Faust awaits this call in the rebalance. The group must not wait for a recovery.
            await w.engine.revoke()
        assert w.driver.starts == []
        w.recovered.set()
        await w.begin(0)
        w.take(0, "a")
        await w.idle()
        assert len(w.writer.scores()) == 1


async def test_a_recovery_ending_during_revocation_starts_no_delivery(worker: NewWorker) -> None:
    async with worker() as w:
        w.recovered.clear()
        w.assign(0)
        await until(w.recovering.is_set)
        revoked = asyncio.create_task(w.engine.revoke())
        w.recovered.set()
        await revoked
        assert w.driver.starts == []
        w.take(0, "of an epoch that never began")
        assert w.engine.stats.in_flight_records == 0


async def test_changed_start_offsets_are_committed_before_any_read(worker: NewWorker) -> None:
    running = worker()
    running.starts_changed = True
    async with running:
        running.assign(0)
        await until(lambda: bool(running.driver.starts))
        ((offsets, _metadata),) = running.writer.commits
        assert offsets == {TopicPartition(topic, 0): 0 for topic in (EVENTS, NOTES)}


async def test_changed_start_offsets_of_a_past_epoch_start_nothing(worker: NewWorker) -> None:
    running = worker()
    running.starts_changed = True
    running.writer.fails.append(FencedError("the group has moved on"))
    async with running:
        running.assign(0)
        await until(lambda: not running.writer.fails)
        await running.engine.revoke()
        assert running.driver.starts == []
        running.assign(0)
        await until(lambda: bool(running.driver.starts))
        assert running.driver.crashed == []


async def test_a_failed_recovery_ends_the_process(worker: NewWorker) -> None:
    async with worker() as w:
        w.recovery_fails = OffsetOutOfRangeError("outside the log")
        w.assign(0)
        await until(lambda: bool(w.driver.crashed))
        assert w.driver.crashed == [w.recovery_fails]
        assert w.engine.state == "failed: outside the log"


async def test_a_recovery_without_progress_counts_as_stalled(worker: NewWorker) -> None:
    async with worker() as w:
        w.recovered.clear()
        w.assign(0)
        await until(w.recovering.is_set)
        w.engine.stats.last_progress -= 100
        assert w.engine.stalled_s(0) > 99


async def test_a_progressing_recovery_is_not_stalled_and_keeps_membership(
    worker: NewWorker,
) -> None:
    async with worker() as w:
        w.recovered.clear()
        w.changelog_end = 1000
        w.assign(0)
        await until(w.recovering.is_set)
        assert w.engine.status == (
            "recovering 1 partitions: 0 records read, at most 1,000 to go "
            "(partition 0: 0 records read, at most 1,000 to go)"
        )
        for count, w.changelog_reached in enumerate((1, 400, 401)):
            await until(partial(w.driver.has_kept, count + 1))
            assert w.engine.stalled_s(0) < 50
            w.engine.stats.last_progress -= 100
            assert w.engine.stalled_s(0) > 99  # no further progress
        assert w.engine.stats.recovery.partitions[0].to_go == 599


async def test_a_new_epoch_resets_the_recovery_status(worker: NewWorker) -> None:
    async with worker() as w:
        w.changelog_end = 1000
        await w.begin()
        assert w.engine.status == "running"
        first = w.engine.stats.recovery
        await w.engine.revoke()
        await w.begin()
        assert w.engine.stats.recovery is not first
