"""The engine's intake, the order of its commits, and its lag."""

import asyncio
from collections.abc import Callable

import pytest

from stream.exactly_once.units.errors import (
    LostBatchError,
)
from stream.exactly_once.units.group_metadata import group_metadata
from stream.exactly_once.units.records import Epoch, TopicPartition, size_of
from tests.support.running_engine import EVENTS, NOTES, Record, Running, until

NewWorker = Callable[..., Running]


# --- intake ---------------------------------------------------------------------------------------------


async def test_a_missing_batch_is_an_error(worker: NewWorker) -> None:
    async with worker() as w:
        await w.begin()
        w.take(0, "a", "b")
        with pytest.raises(LostBatchError, match=r"t\.events\[0\].*starts at 5.*reached 2"):
            w.take(5, "c")


async def test_offset_gaps_are_not_a_lost_batch(worker: NewWorker) -> None:
    async with worker() as w:
        await w.begin()
        batch = w.batch(0, "a", "b")
        batch.records[1].offset = 7  # transaction markers lie between
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


async def test_a_unit_closes_at_its_record_limit(worker: NewWorker) -> None:
    async with worker(max_records=3, linger_s=60) as w:
        await w.begin()
        w.take(0, "a", "b")
        w.take(2, "c", "d", "e", "f", "g")
        await until(lambda: len(w.committed) == 2)
        assert [unit.records for unit in w.committed] == [3, 3]
        assert w.engine.stats.in_flight_records == 1  # the last record waits for the linger time
        w.close_units()
        await w.idle()
        assert w.writer.scores()["t.events[0]@6"] == (b"a", b"b", b"c", b"d", b"e", b"f", b"g")


async def test_a_byte_limited_unit_takes_at_least_one_record(worker: NewWorker) -> None:
    async with worker(max_bytes=20, linger_s=60) as w:
        await w.begin()
        w.take(0, "x" * 5, "x" * 5, "x" * 100, "x")
        w.close_units()
        await w.idle()
        assert [unit.records for unit in w.committed] == [2, 1, 1]


async def test_the_duration_of_commits_is_averaged(worker: NewWorker) -> None:
    async with worker() as w:
        await w.begin()
        assert w.engine.stats.commit_s == 0.0
        w.take(0, "a")
        w.close_units()
        await w.idle()
        first_s = w.engine.stats.commit_s
        w.engine._after_commit([], first_s + 10.0)
        assert w.engine.stats.commit_s == pytest.approx(first_s + 2.0)
        assert first_s > 0.0


async def test_a_unit_closes_when_the_stream_is_idle(worker: NewWorker) -> None:
    async with worker(linger_s=0.01) as w:
        await w.begin()
        w.take(0, "a")
        await until(lambda: len(w.committed) == 1)


async def test_intake_pauses_at_the_in_flight_record_limit(worker: NewWorker) -> None:
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


async def test_intake_pauses_at_the_in_flight_byte_limit(worker: NewWorker) -> None:
    async with worker(at_once=False, max_in_flight_bytes=50, revoke_timeout_s=0.01) as w:
        await w.begin()
        w.take(0, "x" * 60)
        assert not w.engine.room.is_set()
        await w.engine.revoke()
        assert w.engine.room.is_set()  # dropped records are no longer in flight


# --- order ----------------------------------------------------------------------------------------------


async def test_units_commit_in_order_even_if_scored_out_of_order(worker: NewWorker) -> None:
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


async def test_one_unit_is_scored_while_another_is_committed(worker: NewWorker) -> None:
    async with worker(max_records=1) as w:
        await w.begin()
        w.writer.free.clear()
        w.take(0, "a")
        await until(w.writer.inside.is_set)
        w.take(1, "b")  # reads the layer of the unit being committed, not the store
        assert [jobs[0][3] for jobs, _ in w.scorer.submitted] == [(b"a",), (b"a", b"b")]
        w.writer.free.set()
        await w.idle()
        assert w.numbers == [1, 2]


async def test_every_unit_commits_all_input_offsets_of_its_partitions(worker: NewWorker) -> None:
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


async def test_committed_state_is_stored_with_its_changelog_position(worker: NewWorker) -> None:
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


# --- lag and sizes --------------------------------------------------------------------------------------


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


def test_a_records_size_includes_its_headers() -> None:
    record = Record("t", 0, 0, b"four", b"ann", headers=(("name", b"12"), ("empty", None)))
    assert size_of(record) == 4 + 3 + 4 + 2 + 5
