"""An engine without Kafka: driver, writer and scorer are controlled by the test; units, layers and stores are real.

Its program appends each record's value to its key's tuple, scores the record, and emits the tuple as of that record,
so each output shows the state that it was computed from.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from stream.exactly_once.driver import engine as engine_module
from stream.exactly_once.driver.engine import Engine, UnitLimits
from stream.exactly_once.driver.intake import PausedPartition
from stream.exactly_once.kafka.offsets import Cancelled, OffsetPolicy
from stream.exactly_once.kafka.recovery import Changelog, Recovered, RecoveryPlan
from stream.exactly_once.kafka.store import PartitionStore, StateFolder
from stream.exactly_once.units.layers import Layers
from stream.exactly_once.units.processor import Hold
from stream.exactly_once.units.progress import RecoveryProgress
from stream.exactly_once.units.records import Epoch, Output, RecordBatch, TopicPartition
from stream.exactly_once.units.unit import Unit, Work

EVENTS, NOTES, SCORES, CHANGELOG = "t.events", "t.notes", "t.scores", "t.changelog"
SEEN = "seen"
Values = tuple[bytes, ...]


@dataclass(slots=True)
class Record:
    """A consumed record."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    key: bytes | None = b"ann"
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes | None]] = ()


def held_back(where: TopicPartition, offset: int) -> PausedPartition:
    """Return a paused partition whose record at this offset has an unknown schema."""
    record = Record(where.topic, where.partition, offset, b"")
    batch = RecordBatch(where.topic, where.partition, [record], offset, offset + 1, Epoch(1, "member"))
    return PausedPartition(
        Hold(readable=0, missing="schema fingerprint 00", reason="No published schema has it. Upgrade."),
        deque([batch]),
    )


class Table:
    """The part of a LayeredTable that the engine uses, without Faust."""

    name = SEEN

    def __init__(self) -> None:
        self._stores: Mapping[int, PartitionStore] = {}
        self.layers: Layers[tuple[int, Any], Values] = Layers(self._committed, 2, lambda _key, _value: 1)

    def get_in(self, partition: int, key: bytes) -> Values:
        return self.layers.get((partition, key)) or ()

    def use_stores(self, stores: Mapping[int, PartitionStore]) -> None:
        self.layers.drop()
        self._stores = stores

    def encode_changes(self, unit: Unit) -> Iterator[tuple[int, bytes, bytes | None]]:
        for (partition, key), values in unit.layers[SEEN].items():
            yield partition, key, b",".join(values)

    def _committed(self, where: tuple[int, Any]) -> Values | None:
        raw = self._stores[where[0]].get(SEEN, where[1])
        return None if raw is None else tuple(raw.split(b","))


class Program:
    """A Processor that appends values to a tuple per key."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.finish_fails: Exception | None = None

    async def prepare(self, batch: RecordBatch) -> None: ...

    def read(self, batch: RecordBatch, unit: Unit) -> Work:
        jobs = []
        for record in batch.records:
            key = record.key or b""
            values = (*self.table.get_in(batch.partition, key), record.value or b"")
            unit.put(SEEN, batch.partition, key, values)
            jobs.append((record.topic, batch.partition, record.offset, values))
        return Work(jobs, jobs)

    def finish(self, work: Work, results: Any, unit: Unit) -> None:
        if self.finish_fails is not None:
            raise self.finish_fails
        for (topic, partition, offset, values), result in zip(work.context, results, strict=True):
            assert result == values[-1]
            unit.emit(SCORES, f"{topic}[{partition}]@{offset}".encode(), b",".join(values))


class Scorer:
    """A scorer whose results the test releases. at_once: score on submission."""

    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once
        self.submitted: list[tuple[Sequence[Any], Future[Any]]] = []

    def submit(self, jobs: Sequence[Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        self.submitted.append((jobs, future))
        if self.at_once:
            self.score(len(self.submitted) - 1)
        return future

    def score(self, index: int) -> None:
        """Set the scores of the submission with this index, unless it was cancelled."""
        jobs, future = self.submitted[index]
        if not future.done():
            future.set_result([values[-1] for *_, values in jobs])


class Writer:
    """Records commits, which can be blocked and can fail."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.offsets: dict[TopicPartition, int] = {}
        self.commits: list[tuple[dict[TopicPartition, int], bytes]] = []
        self.fails: list[Exception | None] = []
        self.free = threading.Event()
        self.free.set()
        self.inside = threading.Event()

    def commit(
        self,
        outputs: Sequence[Output],
        offsets: Mapping[TopicPartition, int],
        group_metadata: bytes,
        tracked: Mapping[TopicPartition, int],
        commit_metadata: str = "",
    ) -> dict[TopicPartition, int]:
        self.inside.set()
        assert self.free.wait(30)
        error = self.fails.pop(0) if self.fails else None
        if error is not None:
            raise error
        self.outputs += outputs
        self.offsets.update(offsets)
        self.commits.append((dict(offsets), group_metadata))
        changelog = sum(output.topic == CHANGELOG for output in self.outputs)
        return dict.fromkeys(tracked, changelog)

    def scores(self) -> dict[str, Values]:
        """Return the published values by source coordinates; fails on a duplicate."""
        found: dict[str, Values] = {}
        for output in self.outputs:
            if output.topic == SCORES:
                name = (output.key or b"").decode()
                assert name not in found
                found[name] = tuple((output.value or b"").split(b","))
        return found


@dataclass
class Driver:
    """The driver's interface, without Faust."""

    epoch: Epoch | None = None
    starts: list[dict[TopicPartition, int]] = field(default_factory=list)
    crashed: list[BaseException] = field(default_factory=list)
    rejoined: int = 0
    kept: int = 0

    def consumer_epoch(self) -> Epoch | None:
        return self.epoch

    async def resume_delivery(self, epoch: Epoch, starts: Mapping[TopicPartition, int]) -> None:
        self.starts.append(dict(starts))

    def rejoin(self) -> None:
        self.rejoined += 1

    def keep_membership(self) -> None:
        self.kept += 1

    def has_kept(self, times: int) -> bool:
        return self.kept == times

    async def crash(self, reason: BaseException) -> None:
        self.crashed.append(reason)


class Running:
    """One worker's engine: `begin` an epoch, `take` batches, and check what was committed.

    at_once: score on submission, or when the test calls `scorer.score`.
    """

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, at_once: bool = True, **limits: Any
    ) -> None:
        self.driver = Driver()
        self.writer = Writer()
        self.scorer = Scorer(at_once=at_once)
        self.table = Table()
        self.program = Program(self.table)
        self.folder = StateFolder(folder)
        self.committed: list[Unit] = []
        self.recovering = threading.Event()  # set while a recovery is running
        self.recovered = threading.Event()  # clear it to block the end of a recovery
        self.recovered.set()
        self.recovery_fails: Exception | None = None
        self.changelog_end = 0
        self.changelog_reached = 0  # progress of a blocked recovery, in each partition
        self.starts_changed = False
        monkeypatch.setattr(engine_module, "recover", self._recover)
        plan = RecoveryPlan(
            {},
            "group",
            [EVENTS, NOTES],
            [Changelog(SEEN, CHANGELOG, "id", 1)],
            OffsetPolicy(),
            lambda _cancelled: {},
        )
        usual = {"max_records": 3, "max_bytes": 1000, "linger_s": 0.001}
        room = {"max_in_flight_records": 100, "max_in_flight_bytes": 10_000, "revoke_timeout_s": 5.0}
        self.engine = Engine(
            self.driver,
            plan=plan,
            limits=UnitLimits(**{**usual, **room, **limits}),
            tables=[self.table],  # type: ignore[list-item]
            folder=self.folder,
            writer=self.writer,  # type: ignore[arg-type]
            processor=self.program,
            scorer=self.scorer,
            on_commit=lambda unit, _seconds: self.committed.append(unit),
        )
        self.folder.open("slot")
        self.engine.start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.free.set()
        self.recovered.set()
        await self.engine.stop()

    def _recover(
        self,
        plan: Any,
        stores: Mapping[int, PartitionStore],
        cancelled: Callable[[], bool],
        progress: RecoveryProgress,
    ) -> Recovered:
        """Return the committed offsets; runs on the recovery thread and leaves the stores as they are."""
        ends = {TopicPartition(CHANGELOG, number): self.changelog_end for number in stores}
        progress.begin(dict.fromkeys(ends, 0), ends)
        self.recovering.set()
        while not self.recovered.wait(0.001):
            progress.advance({}, dict.fromkeys(ends, self.changelog_reached))
            if cancelled():
                self.recovering.clear()
                raise Cancelled
        self.recovering.clear()
        if self.recovery_fails is not None:
            raise self.recovery_fails
        starts = {TopicPartition(t, p): 0 for p in stores for t in (EVENTS, NOTES)}
        found = {tp: self.writer.offsets.get(tp, 0) for tp in starts}
        return Recovered(starts=found, records=0, seconds=0.0, starts_changed=self.starts_changed)

    def assign(self, *partitions: int) -> Epoch:
        """Begin the next epoch and return at once."""
        generation = 1 if self.driver.epoch is None else self.driver.epoch.generation + 1
        self.driver.epoch = Epoch(generation, f"member-{generation}")
        self.engine.begin_epoch({TopicPartition(t, p) for p in partitions for t in (EVENTS, NOTES)})
        return self.driver.epoch

    async def begin(self, *partitions: int) -> Epoch:
        """Begin the next epoch and wait until delivery is resumed."""
        count = len(self.driver.starts)
        epoch = self.assign(*partitions or (0,))
        await until(lambda: len(self.driver.starts) > count)
        return epoch

    def batch(
        self, first: int, *values: str, topic: str = EVENTS, partition: int = 0, epoch: Epoch | None = None
    ) -> RecordBatch:
        """Return a batch of records with these values, starting at offset `first`."""
        records = [
            Record(topic, partition, first + index, value.encode()) for index, value in enumerate(values)
        ]
        epoch = epoch or self.driver.epoch
        assert epoch is not None
        return RecordBatch(topic, partition, records, first, first + len(values), epoch)

    def take(self, first: int, *values: str, **more: Any) -> None:
        """Pass a batch of these values to the engine."""
        self.engine.take(self.batch(first, *values, **more))

    async def idle(self) -> None:
        """Wait until all records taken are committed or dropped."""
        await until(lambda: self.engine.stats.in_flight_records == 0)

    def close_units(self) -> None:
        """Close the open unit, as its linger timer does."""
        self.engine._close_unit()

    @property
    def numbers(self) -> list[int]:
        """The numbers of the committed units."""
        return [unit.number for unit in self.committed]


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Run the event loop until the condition holds. Raises TimeoutError after timeout_s."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.001)
