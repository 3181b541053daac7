"""A worker process as tasks of small steps.

It follows the order of stream/exactly_once/driver/engine.py, with the real units, layers and splitting.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from stream.exactly_once.units.errors import (
    ExactlyOnceError,
    FencedError,
    LostBatchError,
    TransactionEndedError,
)
from stream.exactly_once.units.layers import Layers
from stream.exactly_once.units.records import Epoch, RecordBatch, TopicPartition
from stream.exactly_once.units.unit import Unit, Work, count_fitting, split
from tests.protocol.broker import Broker
from tests.protocol.committing import commit, take_over
from tests.protocol.delivery import Delivery
from tests.protocol.disk import Disk, Store
from tests.protocol.group import Answer
from tests.protocol.recovering import start_epoch
from tests.protocol.rules import Rules
from tests.protocol.steps import Steps, Task, Wait
from tests.protocol.topics import INPUTS, TABLE, name_of

# Limits of a unit; a record has a key of 3 bytes and a value of 1 to 9.
_MAX_RECORDS, _MAX_BYTES = 2, 12
_MAX_IN_FLIGHT = 6  # records


class Worker:
    """One process from start to end. `step` advances one of its ready tasks."""

    def __init__(self, broker: Broker, rules: Rules, disk: Disk) -> None:
        self.broker = broker
        self.rules = rules
        self.disk = disk
        self.failure: Exception | None = None
        self.producer_epoch = 0
        self.member_id = ""
        self.shown = Epoch(-1, "")  # the client's current group metadata
        self.epoch: Epoch | None = None  # None while no records are taken
        self.begun: Epoch | None = None
        self.stores: dict[int, Store] = {}
        self.layers: Layers[tuple[int, bytes], bytes] = Layers(
            self.committed_value, 2, lambda _key, _value: 1
        )
        self.units: deque[Unit] = deque()
        self.committing = False
        self.stopping = False  # asked to stop gracefully
        self.stopped = False
        self.delivery = Delivery(broker, rules, self._has_room)
        self._revoking = False
        self._rejoin = False
        self._open: Unit | None = None
        self._numbers = 0
        self._next: dict[TopicPartition, int] = {}
        self._waiting: list[Future[None]] = []  # scores to come
        self.tasks = {
            "group": Task(self._membership()),
            "fetch": Task(self.delivery.fetch()),
            "agent": Task(self._agent()),
            "linger": Task(self._linger()),
            "scorer": Task(self._score()),
            "commit": Task(self._commit_units()),
        }

    # --- steps ------------------------------------------------------------------------------------------

    def ready(self) -> list[str]:
        """Return the tasks that can make a step now."""
        return [name for name, task in self.tasks.items() if task.ready]

    def step(self, name: str, pick: int) -> None:
        """Make the next step of a task; an error that ends the process is stored in `failure`."""
        try:
            self.tasks[name].step(pick)
        except ExactlyOnceError as exc:
            self.failure = exc

    def at(self, place: str) -> bool:
        """Return whether a task is right before this step."""
        return any(task.wait is not None and task.wait.before == place for task in self.tasks.values())

    @property
    def busy(self) -> bool:
        """Whether records are taken or queued that are not committed."""
        return bool(self.units or self.delivery.queue)

    # --- the group --------------------------------------------------------------------------------------

    def _membership(self) -> Steps:
        group = self.broker.group
        yield from take_over(self)
        while True:
            yield Wait("join")
            self.member_id = group.join(self.member_id)
            yield Wait("receive the assignment", lambda: group.joined(self.member_id) is not None)
            answer = group.joined(self.member_id)
            if answer is None or isinstance(answer, Answer):
                continue
            epoch_now = self.shown = Epoch(answer.generation, self.member_id)
            self.delivery.assign(epoch_now, answer.partitions)
            yield Wait("pause what was assigned")
            self.delivery.pause()
            self.begun = epoch_now
            self.tasks["recovery"] = Task(start_epoch(self, epoch_now, answer.partitions))
            yield Wait("notice a rebalance", self._moved_on(epoch_now))
            self._rejoin = False
            if group.heartbeat(epoch_now) is Answer.UNKNOWN:
                self.shown = Epoch(-1, "")
                self.member_id = ""
            self.delivery.prepare_revocation()
            yield from self._revoke()
            if self.stopping:
                yield Wait("leave the group")
                group.remove(self.member_id)
                self.stopped = True

    def _moved_on(self, epoch: Epoch) -> Callable[[], bool]:
        return lambda: self.stopping or self._rejoin or self.broker.group.heartbeat(epoch) is not None

    def over(self, epoch: Epoch) -> bool:
        """Return whether this epoch is over, so that its recovery must stop."""
        return self.begun is not epoch or self.delivery.epoch is not epoch

    def adopt(self, epoch: Epoch, starts: dict[TopicPartition, int]) -> None:
        """Begin to take records of this epoch."""
        self.layers.drop()
        self._next = dict(starts)
        self.epoch = epoch
        self._revoking = False

    def _revoke(self) -> Steps:
        self.begun = None
        if self.epoch is not None:
            self.epoch = None
            self._close_unit()
            yield Wait("revocation timeout")
            if not self.rules.drop_later_units:
                self.units = deque(unit for unit in self.units if unit.scored)
                yield Wait("commit the later units", lambda: not self.units)
        self._revoking = True
        yield Wait("wait for the running commit", lambda: not self.committing)
        self._drop_units()
        recovery = self.tasks["recovery"]
        yield Wait("wait for the recovery", lambda: recovery.wait is None)
        self.layers.drop()
        self.stores = {}
        self.delivery.stop_flow()

    # --- intake -----------------------------------------------------------------------------------------

    def _has_room(self) -> bool:
        return sum(unit.records for unit in self.units) < _MAX_IN_FLIGHT

    def committed_value(self, where: tuple[int, bytes]) -> bytes | None:
        """Return the committed value of a key from the store."""
        partition, key = where
        return self.stores[partition].values.get(key)

    def _agent(self) -> Steps:
        while True:
            yield Wait("take a batch", lambda: bool(self.delivery.queue))
            self._take(self.delivery.queue.popleft())

    def _take(self, batch: RecordBatch) -> None:
        """Take a batch, line by line as Engine.take does."""
        if self.epoch is None or batch.epoch is not self.epoch:
            return
        where = TopicPartition(batch.topic, batch.partition)
        if batch.base != self._next[where]:
            raise LostBatchError(f"{where}: a batch starts at {batch.base}, not at {self._next[where]}")
        sizes = [len(record.value or b"") + len(record.key or b"") for record in batch.records]
        rest: RecordBatch | None = batch
        while rest is not None:
            unit = self._open or self._open_unit(self.epoch)
            if unit.records and unit.bytes + sizes[0] > _MAX_BYTES:
                self._close_unit()
                continue
            count = count_fitting(rest, sizes, _MAX_RECORDS - unit.records, _MAX_BYTES - unit.bytes)
            part, rest = split(rest, count)
            self._read(part, unit, sum(sizes[:count]))
            self._next[where] = part.next
            sizes = sizes[count:]
            if unit.records >= _MAX_RECORDS or unit.bytes >= _MAX_BYTES:
                self._close_unit()

    def _read(self, part: RecordBatch, unit: Unit, size_bytes: int) -> None:
        """Run the program: a key's state is the names of its records; an output is the state after its record."""
        get = self.layers.get if self.rules.layers else self.committed_value
        where = TopicPartition(part.topic, part.partition)
        jobs: list[tuple[int, bytes, bytes]] = []
        for record in part.records:
            key, name = record.key or b"", name_of(where, record.offset)
            value = (get((where.partition, key)) or b"") + name + b" "
            unit.put(TABLE, where.partition, key, value)
            jobs.append((where.partition, name, value))
        future: Future[None] = Future()
        self._waiting.append(future)
        unit.add_batch(part, Work(jobs), future, size_bytes)

    def _open_unit(self, epoch: Epoch) -> Unit:
        self._numbers += 1
        unit = self._open = Unit(self._numbers, epoch, {TABLE: self.layers.open()}, self._next)
        self.units.append(unit)
        return unit

    def _linger(self) -> Steps:
        while True:
            yield Wait("close the open unit", lambda: self._open is not None)
            self._close_unit()

    def _close_unit(self) -> None:
        unit, self._open = self._open, None
        if unit is not None:
            for number in unit.partitions:
                for topic in INPUTS:
                    where = TopicPartition(topic, number)
                    unit.offsets.setdefault(where, self._next[where])
            unit.closed = True

    def _score(self) -> Steps:
        while True:
            pick = yield Wait("score", lambda: bool(self._waiting))
            self._waiting.pop(pick % len(self._waiting)).set_result(None)

    # --- commits ----------------------------------------------------------------------------------------

    def _commit_units(self) -> Steps:
        while True:
            yield Wait("finish the oldest units", lambda: bool(self._ready_units()) and not self._revoking)
            units = self._ready_units()
            self.committing = True
            try:
                yield from commit(self, units)
            except FencedError as exc:
                self._drop_units()
                # After an ended transaction the group does not rebalance by itself.
                self._rejoin = isinstance(exc, TransactionEndedError)
            else:
                yield Wait("drop the layers")
                for _ in units:
                    self.layers.commit_oldest()
                    self.units.popleft()
            self.committing = False

    def _ready_units(self) -> list[Unit]:
        ready: list[Unit] = []
        for unit in self.units:
            if (
                not unit.closed
                or not unit.scored
                or sum(each.records for each in ready) > _MAX_IN_FLIGHT // 2
            ):
                break
            ready.append(unit)
        return ready

    def _drop_units(self) -> None:
        """Drop all units: later units have read the state of a dropped one."""
        self.epoch = None
        while self.units:
            self.units.popleft().dropped = True
        self._waiting.clear()
        self._open = None
        self.layers.drop()
