"""An unreadable record pauses its partition. Other partitions continue; no record is lost or reordered."""

import asyncio
import logging

import pytest

from stream.exactly_once import Epoch, Hold, RecordBatch, Unit, Work
from stream.exactly_once.driver.intake import Intake
from tests.support.running_engine import Record

EPOCH = Epoch(1, "member")


class Program:
    """A processor that cannot read some values until the test allows it."""

    def __init__(self, *unreadable: str) -> None:
        self.unreadable = set(unreadable)
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def prepare(self, batch: RecordBatch) -> Hold | None:
        self.asked.set()
        await self.answers.wait()
        for index, record in enumerate(batch.records):
            if (value := (record.value or b"").decode()) in self.unreadable:
                return Hold(index, f"schema {value}", f"{value} is unknown.")
        return None

    def read(self, batch: RecordBatch, unit: Unit) -> Work:
        raise AssertionError("only the engine calls this")

    def finish(self, work: Work, results: object, unit: Unit) -> None:
        raise AssertionError("only the engine calls this")


class Scene:
    """An intake, and the records that it has passed to the engine."""

    def __init__(self, *unreadable: str) -> None:
        self.program = Program(*unreadable)
        self.taken: list[str] = []
        self.next: dict[tuple[str, int], int] = {}
        self.now_s = 100.0
        self.intake = Intake(self.program, self._take, lambda: self.now_s)
        self.intake.begin(EPOCH)

    def _take(self, batch: RecordBatch) -> None:
        where = (batch.topic, batch.partition)
        assert batch.base == self.next.get(where, 0)  # the engine requires contiguous batches
        self.next[where] = batch.next
        self.taken += [(record.value or b"").decode() for record in batch.records]

    async def put(
        self, first: int, *values: str, topic: str = "t.events", partition: int = 0, epoch: Epoch = EPOCH
    ) -> None:
        records = [Record(topic, partition, first + i, value.encode()) for i, value in enumerate(values)]
        await self.intake.put(RecordBatch(topic, partition, records, first, first + len(values), epoch))


async def test_an_unreadable_record_pauses_only_its_partition() -> None:
    scene = Scene("x")
    await scene.put(0, "a", "b", "x", "c")
    await scene.put(0, "other", partition=1)
    await scene.put(0, "note", topic="t.notes")
    assert scene.taken == ["a", "b", "other"]
    assert set(scene.intake.paused_partitions) == {0}


async def test_paused_records_are_read_in_order_once_readable() -> None:
    scene = Scene("x", "y")
    await scene.put(0, "a", "x", "b")
    await scene.put(0, "note", topic="t.notes")
    await scene.put(3, "y", "c")
    await scene.intake.retry()
    assert scene.taken == ["a"]
    scene.program.unreadable = {"y"}
    await scene.intake.retry()
    assert scene.taken == ["a", "x", "b", "note"]
    await scene.put(5, "d")
    scene.program.unreadable = set()
    await scene.intake.retry()
    assert scene.taken == ["a", "x", "b", "note", "y", "c", "d"]
    assert scene.intake.paused_partitions == {}
    await scene.put(6, "e")
    assert scene.taken[-1] == "e"


async def test_a_new_epoch_discards_and_rereads_paused_records() -> None:
    scene = Scene("x")
    await scene.put(0, "x", "a")
    scene.intake.begin(None)
    await scene.put(2, "b")
    assert scene.intake.paused_partitions == {}
    later = Epoch(2, "member")
    scene.intake.begin(later)
    await scene.put(2, "late")
    await scene.put(0, "x", "a", "b", epoch=later)
    scene.program.unreadable = set()
    await scene.intake.retry()
    assert scene.taken == ["x", "a", "b"]


@pytest.mark.parametrize("unreadable", [(), ("a",)])
async def test_a_batch_is_dropped_if_its_epoch_ends_meanwhile(unreadable: tuple[str]) -> None:
    scene = Scene(*unreadable)
    scene.program.answers.clear()
    putting = asyncio.create_task(scene.put(0, "a"))
    await scene.program.asked.wait()
    scene.intake.begin(Epoch(2, "member"))
    scene.program.answers.set()
    await putting
    assert (scene.taken, scene.intake.paused_partitions) == ([], {})


async def test_paused_partitions_are_logged_once_per_interval(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene("x")
    await scene.put(0, "a", "x")
    with caplog.at_level(logging.WARNING):
        for _ in range(31):
            await scene.intake.retry()
            scene.now_s += 1.0
    assert caplog.messages == ["t.events[0] is paused at offset 1: x is unknown."] * 2
