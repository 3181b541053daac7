"""A partition whose next record cannot be read yet waits; the others go on, and nothing is lost or reordered."""

import asyncio
import logging

import pytest

from stream.exactly_once import Epoch, Hold, RecordBatch, Unit, Work
from stream.exactly_once.driver.intake import Intake
from tests.support.running_engine import Record

EPOCH = Epoch(1, "member")


class Program:
    """Cannot read some values, until a test says so."""

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
        raise AssertionError("the engine does it")

    def finish(self, work: Work, results: object, unit: Unit) -> None:
        raise AssertionError("the engine does it")


class Scene:
    """An intake, and what it has given to the engine."""

    def __init__(self, *unreadable: str) -> None:
        self.program = Program(*unreadable)
        self.taken: list[str] = []
        self.next: dict[tuple[str, int], int] = {}
        self.now_s = 100.0
        self.intake = Intake(self.program, self._take, lambda: self.now_s)
        self.intake.begin(EPOCH)

    def _take(self, batch: RecordBatch) -> None:
        where = (batch.topic, batch.partition)
        assert batch.base == self.next.get(where, 0)  # as the engine demands
        self.next[where] = batch.next
        self.taken += [(record.value or b"").decode() for record in batch.records]

    async def put(
        self, first: int, *values: str, topic: str = "t.events", partition: int = 0, epoch: Epoch = EPOCH
    ) -> None:
        records = [Record(topic, partition, first + i, value.encode()) for i, value in enumerate(values)]
        await self.intake.put(RecordBatch(topic, partition, records, first, first + len(values), epoch))


async def test_a_partition_is_read_up_to_the_record_that_cannot_be_and_the_others_go_on() -> None:
    scene = Scene("x")
    await scene.put(0, "a", "b", "x", "c")
    await scene.put(0, "other", partition=1)
    await scene.put(0, "note", topic="t.notes")
    assert scene.taken == ["a", "b", "other"]
    assert set(scene.intake.paused_partitions) == {0}


async def test_what_is_held_is_read_in_order_once_it_can_be() -> None:
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


async def test_another_epoch_forgets_what_is_held_and_reads_it_again() -> None:
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
async def test_an_epoch_that_ends_while_a_batch_waits_takes_the_batch_with_it(unreadable: tuple[str]) -> None:
    scene = Scene(*unreadable)
    scene.program.answers.clear()
    putting = asyncio.create_task(scene.put(0, "a"))
    await scene.program.asked.wait()
    scene.intake.begin(Epoch(2, "member"))
    scene.program.answers.set()
    await putting
    assert (scene.taken, scene.intake.paused_partitions) == ([], {})


async def test_the_log_says_once_an_interval_what_waits_where(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene("x")
    await scene.put(0, "a", "x")
    with caplog.at_level(logging.WARNING):
        for _ in range(31):
            await scene.intake.retry()
            scene.now_s += 1.0
    assert caplog.messages == ["t.events[0] is paused at offset 1: x is unknown."] * 2
