"""Units in order: what is read, when it is committed, and what becomes of it when the epoch ends."""

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stream.exactly_once.kafka.store import StateFolder
from stream.exactly_once.units.errors import (
    FatalTransactionError,
    FencedError,
    GroupMetadataError,
    LostBatchError,
    OffsetOutOfRangeError,
    StartError,
    StateFormatError,
    StoreError,
    TransactionEndedError,
)
from stream.exactly_once.units.group_metadata import group_metadata
from stream.exactly_once.units.records import Epoch, TopicPartition, size_of
from tests.support.running_engine import EVENTS, NOTES, Record, Running, until

NewWorker = Callable[..., Running]


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewWorker:
    """Makes a running engine; call it on the event loop."""

    def make(**options: Any) -> Running:
        return Running(tmp_path / "state", monkeypatch, **options)

    return make


# --- intake -----------------------------------------------------------------------------------------------


async def test_a_batch_that_never_came_ends_the_process(worker: NewWorker) -> None:
    async with worker() as w:
        await w.begin()
        w.take(0, "a", "b")
        with pytest.raises(LostBatchError, match=r"t\.events\[0\].*starts at 5.*reached 2"):
            w.take(5, "c")


async def test_holes_in_the_offsets_are_no_lost_batch(worker: NewWorker) -> None:
    async with worker() as w:
        await w.begin()
        batch = w.batch(0, "a", "b")
        batch.records[1].offset = 7  # transaction markers lay between
        batch.next = 8
        w.engine.take(batch)
        w.take(8, "c")
        await w.idle()
        assert w.writer.offsets[TopicPartition(EVENTS, 0)] == 9


async def test_batches_of_another_epoch_are_ignored(worker: NewWorker) -> None:
    async with worker() as w:
        old = await w.begin()
        await w.engine.revoke()
        w.take(0, "between", epoch=old)
        await w.begin()
        w.take(0, "old", epoch=old)
        w.take(0, "equal but not the same", epoch=Epoch(2, "member-2"))
        w.take(0, "new")
        await w.idle()
        assert w.writer.scores() == {"t.events[0]@0": (b"new",)}


async def test_a_unit_closes_by_size_in_records(worker: NewWorker) -> None:
    async with worker(max_records=3, linger_s=60) as w:
        await w.begin()
        w.take(0, "a", "b")
        w.take(2, "c", "d", "e", "f", "g")
        await until(lambda: len(w.committed) == 2)
        assert [unit.records for unit in w.committed] == [3, 3]
        assert w.engine.stats.in_flight_records == 1  # the last waits for its linger
        w.close_units()
        await w.idle()
        assert w.writer.scores()["t.events[0]@6"] == (b"a", b"b", b"c", b"d", b"e", b"f", b"g")


async def test_a_unit_closes_by_size_in_bytes_and_takes_at_least_one_record(worker: NewWorker) -> None:
    async with worker(max_bytes=20, linger_s=60) as w:
        await w.begin()
        w.take(0, "x" * 5, "x" * 5, "x" * 100, "x")
        w.close_units()
        await w.idle()
        assert [unit.records for unit in w.committed] == [2, 1, 1]


async def test_a_unit_closes_when_the_stream_is_idle(worker: NewWorker) -> None:
    async with worker(linger_s=0.01) as w:
        await w.begin()
        w.take(0, "a")
        await until(lambda: len(w.committed) == 1)


async def test_intake_pauses_while_too_much_is_in_flight(worker: NewWorker) -> None:
    async with worker(at_once=False, max_in_flight_records=4) as w:
        await w.begin()
        w.take(0, "a", "b", "c")
        assert w.engine.room.is_set()
        w.take(3, "d")
        assert not w.engine.room.is_set()
        w.scorer.score(0)
        await until(w.engine.room.is_set)
        w.scorer.score(1)
        await w.idle()


async def test_intake_pauses_by_bytes_too(worker: NewWorker) -> None:
    async with worker(at_once=False, max_in_flight_bytes=50, revoke_timeout_s=0.01) as w:
        await w.begin()
        w.take(0, "x" * 60)
        assert not w.engine.room.is_set()
        await w.engine.revoke()
        assert w.engine.room.is_set()  # what was dropped is not in flight any more


# --- order ------------------------------------------------------------------------------------------------


async def test_units_are_committed_in_order_while_later_ones_are_scored(worker: NewWorker) -> None:
    async with worker(at_once=False, max_records=1) as w:
        await w.begin()
        w.take(0, "a", "b", "c")
        for index in (2, 1):
            w.scorer.score(index)
        await asyncio.sleep(0.02)
        assert w.numbers == []
        w.scorer.score(0)
        await w.idle()
        assert w.numbers == [1, 2, 3]
        assert w.writer.scores() == {
            "t.events[0]@0": (b"a",),
            "t.events[0]@1": (b"a", b"b"),
            "t.events[0]@2": (b"a", b"b", b"c"),
        }


async def test_one_is_scored_while_another_is_being_committed(worker: NewWorker) -> None:
    async with worker(max_records=1) as w:
        await w.begin()
        w.writer.free.clear()
        w.take(0, "a")
        await until(w.writer.inside.is_set)
        w.take(1, "b")  # read from the layer of the unit in the commit, not from the store
        assert [jobs[0][3] for jobs, _ in w.scorer.submitted] == [(b"a",), (b"a", b"b")]
        w.writer.free.set()
        await w.idle()
        assert w.numbers == [1, 2]


async def test_every_unit_sends_the_offsets_of_all_inputs_of_its_partitions(worker: NewWorker) -> None:
    async with worker() as w:
        epoch = await w.begin(0, 1, 2)
        w.take(0, "a", topic=NOTES, partition=1)
        await w.idle()
        w.take(0, "b", "c", partition=1)
        w.take(0, "d", partition=2)
        await w.idle()
        first, second = w.writer.commits
        assert first == (
            {TopicPartition(NOTES, 1): 1, TopicPartition(EVENTS, 1): 0},
            group_metadata("group", epoch),
        )
        assert second[0] == {
            TopicPartition(EVENTS, 1): 2,
            TopicPartition(NOTES, 1): 1,
            TopicPartition(EVENTS, 2): 1,
            TopicPartition(NOTES, 2): 0,
        }


async def test_what_is_committed_is_in_the_store_with_its_place_in_the_changelog(worker: NewWorker) -> None:
    async with worker() as w:
        await w.begin(0)
        w.take(0, "a", "b")
        await w.idle()
        await w.engine.revoke()
        await w.begin(0)
        position = w.engine._stores[0].position("seen")
        assert position is not None
        assert (position.topic_id, position.next_offset) == ("id", 1)
        assert w.table.get_in(0, b"ann") == (b"a", b"b")


# --- fencing ----------------------------------------------------------------------------------------------


async def test_a_fenced_unit_takes_the_later_ones_along_and_nothing_more_is_taken(worker: NewWorker) -> None:
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
        assert w.engine.failure is None  # the next epoch reads again
        assert w.engine.state == "rebalancing"  # so /readyz does not say that records are processed

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
async def test_the_group_is_joined_again_only_when_it_has_no_reason_of_its_own(
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
        future.set_running_or_notify_cancel()  # too late to be withdrawn
        w.close_units()
        await asyncio.sleep(0.01)
        w.driver.epoch = Epoch(9, "other")
        w.engine._drop_units()
        future.set_result([values[-1] for *_, values in jobs])
        await asyncio.sleep(0.01)
        assert w.writer.commits == []
        assert w.engine.failure is None


@pytest.mark.parametrize("epoch", [Epoch(-1, "member"), Epoch(3, "")])
async def test_an_epoch_that_would_not_fence_commits_nothing(worker: NewWorker, epoch: Epoch) -> None:
    async with worker() as w:
        w.driver.epoch = epoch
        w.engine.begin_epoch({TopicPartition(EVENTS, 0)})
        await until(lambda: bool(w.driver.starts))
        w.take(0, "a")
        await until(lambda: bool(w.driver.crashed))
        assert isinstance(w.engine.failure, GroupMetadataError)
        assert w.writer.commits == []


# --- revocation -------------------------------------------------------------------------------------------


async def test_revocation_commits_what_is_ready_the_open_unit_too(worker: NewWorker) -> None:
    async with worker(linger_s=60) as w:
        await w.begin()
        w.take(0, "a", "b", "c", "d")
        await w.engine.revoke()
        assert len(w.writer.scores()) == 4
        assert w.engine.stats.dropped_records == 0


async def test_revocation_waits_for_scores_within_its_bound_and_drops_the_rest(worker: NewWorker) -> None:
    async with worker(at_once=False, max_records=1, revoke_timeout_s=0.3) as w:
        await w.begin()
        w.take(0, "a", "b", "c")
        revoked = asyncio.create_task(w.engine.revoke())
        await asyncio.sleep(0.01)
        w.scorer.score(0)  # in time; the second never, so the third may not either
        w.scorer.score(2)
        began = time.monotonic()
        await revoked
        assert time.monotonic() - began < 5
        assert list(w.writer.scores()) == ["t.events[0]@0"]
        assert w.scorer.submitted[1][1].cancelled()
        assert w.engine.stats.dropped_records == 2
        assert len(w.table.layers) == 0


async def test_revocation_waits_for_the_commit_in_flight_and_lets_no_other_begin(worker: NewWorker) -> None:
    async with worker(at_once=False, max_records=1, revoke_timeout_s=0.02) as w:
        await w.begin()
        w.writer.free.clear()
        w.take(0, "a", "b")
        w.scorer.score(0)
        await until(w.writer.inside.is_set)
        w.scorer.score(1)
        revoked = asyncio.create_task(w.engine.revoke())
        await asyncio.sleep(0.1)  # well past the bound
        assert not revoked.done()
        w.writer.free.set()
        await revoked
        assert list(w.writer.scores()) == ["t.events[0]@0"]
        await w.begin()
        assert w.table.get_in(0, b"ann") == (b"a",)  # what was committed went into the store
        w.take(1, "b")
        w.scorer.score(2)
        await w.idle()
        assert w.writer.scores()["t.events[0]@1"] == (b"a", b"b")


async def test_a_commit_that_is_fenced_during_revocation_ends_it_too(worker: NewWorker) -> None:
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


# --- recovery ---------------------------------------------------------------------------------------------


async def test_no_record_is_taken_before_its_partition_is_recovered(worker: NewWorker) -> None:
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


async def test_revocation_abandons_a_recovery_at_once_and_nothing_is_delivered_of_its_epoch(
    worker: NewWorker,
) -> None:
    async with worker() as w:
        w.recovered.clear()
        w.assign(0)
        await until(w.recovering.is_set)
        async with asyncio.timeout(2):
            await (
                w.engine.revoke()
            )  # Faust awaits it in the rebalance: the group must not wait for a recovery
        assert w.driver.starts == []
        w.recovered.set()
        await w.begin(0)
        w.take(0, "a")
        await w.idle()
        assert len(w.writer.scores()) == 1


async def test_a_recovery_that_ends_during_revocation_starts_nothing(worker: NewWorker) -> None:
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


async def test_a_start_that_was_decided_is_committed_before_anything_is_read(worker: NewWorker) -> None:
    running = worker()
    running.starts_changed = True
    async with running:
        running.assign(0)
        await until(lambda: bool(running.driver.starts))
        ((offsets, _metadata),) = running.writer.commits
        assert offsets == {TopicPartition(topic, 0): 0 for topic in (EVENTS, NOTES)}


async def test_a_decided_start_of_an_epoch_that_is_over_starts_nothing(worker: NewWorker) -> None:
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


async def test_a_recovery_that_fails_ends_the_process(worker: NewWorker) -> None:
    async with worker() as w:
        w.recovery_fails = OffsetOutOfRangeError("outside the log")
        w.assign(0)
        await until(lambda: bool(w.driver.crashed))
        assert w.driver.crashed == [w.recovery_fails]
        assert w.engine.state == "failed: outside the log"


# --- ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "traced"), [(StateFormatError("newer"), False), (StoreError("disk"), True)]
)
async def test_state_of_another_version_ends_the_process_with_one_line(
    worker: NewWorker, caplog: pytest.LogCaptureFixture, failure: Exception, traced: bool
) -> None:
    async with worker() as w:
        await w.begin()
        await w.engine.fail(failure)
    (said,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert said.getMessage() == f"The worker ends: {type(failure).__name__}: {failure}"
    assert bool(said.exc_info) == traced


@pytest.mark.parametrize("where", ["scorer", "finish", "writer"])
async def test_a_failure_ends_the_process_with_nothing_more_committed(worker: NewWorker, where: str) -> None:
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


async def test_a_store_that_cannot_be_closed_ends_the_process_and_the_others_are_closed_all_the_same(
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


async def test_stopping_commits_what_is_ready_and_frees_the_folder(worker: NewWorker, tmp_path: Path) -> None:
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


async def test_a_store_of_long_ago_is_dropped_when_partitions_come_and_now_and_then(
    worker: NewWorker, tmp_path: Path
) -> None:
    async with worker() as w:
        w.folder = StateFolder(tmp_path / "state", drop_unused_after_s=60)
        w.engine._folder = w.folder
        long_ago_s = time.time() - 3_600
        for number in (0, 7, 8):
            w.folder.open_store(number, 1).close()
            os.utime(w.folder.partition(number), (long_ago_s, long_ago_s))
        os.utime(w.folder.partition(8))
        await w.begin(0)
        assert [w.folder.partition(number).exists() for number in (0, 7, 8)] == [True, False, True]
        for number in (0, 8):
            os.utime(w.folder.partition(number), (long_ago_s, long_ago_s))
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


async def test_a_recovery_that_does_not_end_counts_as_stalled(worker: NewWorker) -> None:
    async with worker() as w:
        w.recovered.clear()
        w.assign(0)
        await until(w.recovering.is_set)
        w.engine.stats.last_progress -= 100
        assert w.engine.stalled_s(0) > 99


async def test_a_recovery_that_reads_on_is_not_stalled_and_keeps_its_place_in_the_group(
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
            assert w.engine.stalled_s(0) > 99  # it stands still
        assert w.engine.stats.recovery.partitions[0].to_go == 599


async def test_a_new_epoch_tells_nothing_of_the_recovery_before(worker: NewWorker) -> None:
    async with worker() as w:
        w.changelog_end = 1000
        await w.begin()
        assert w.engine.status == "running"
        first = w.engine.stats.recovery
        await w.engine.revoke()
        await w.begin()
        assert w.engine.stats.recovery is not first


async def test_lag_counts_the_inputs_only(worker: NewWorker) -> None:
    async with worker() as w:
        lag = w.engine.lag(
            {
                TopicPartition(EVENTS, 0): (3, 10),
                TopicPartition(NOTES, 0): (5, 4),  # read past a stable end that is not known yet
                TopicPartition("else", 0): (0, 100),
            }
        )
        assert {tp: one.stable_records for tp, one in lag.items()} == {
            TopicPartition(EVENTS, 0): 7,
            TopicPartition(NOTES, 0): 0,
        }


def test_a_records_size_counts_its_headers() -> None:
    record = Record("t", 0, 0, b"four", b"ann", headers=(("name", b"12"), ("empty", None)))
    assert size_of(record) == 4 + 3 + 4 + 2 + 5
