"""A model of workers and a broker, with the faults that can happen to them, and a way back to idleness."""

from collections import Counter
from dataclasses import dataclass
from random import Random

from stream.exactly_once.units.records import TopicPartition
from tests.protocol.audit import Audit, AuditError
from tests.protocol.broker import Broker, State, Transaction
from tests.protocol.disk import Disk
from tests.protocol.rules import Rules
from tests.protocol.topics import CHANGELOG, INPUTS, OUTPUT, PARTITIONS
from tests.protocol.worker import Worker

WORKERS = ("one", "two", "three")
BROKER = "broker"
_MAX_STEPS_TO_IDLE = 6000


@dataclass(frozen=True)
class Schedule:
    """Restricts which steps are made; by default any.

    held: a task that makes no step in any worker, or BROKER for no markers. only: steps of this worker, and markers.
    late: the worker whose transactions get no markers.
    """

    held: str = ""
    only: str = ""
    late: str = ""


ANY_ORDER = Schedule()


class Cluster:
    """A cluster whose audit runs after every step. history: all steps and faults so far."""

    def __init__(self, rules: Rules) -> None:
        topics = (*INPUTS, OUTPUT, CHANGELOG)
        logs = [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]
        self.broker = Broker(logs, PARTITIONS, markers_wait_for_leader=rules.markers_wait_for_leader)
        self.audit = Audit(self.broker)
        self.history: list[str] = []
        self.steps: Counter[str] = Counter()
        self.workers: dict[str, Worker] = {}  # the running workers
        self.paused: set[str] = set()
        self.broken = False  # after an AuditError; later results are meaningless
        self._rules = rules
        self._disks: dict[str, Disk] = {}
        self._folders = 0
        self._members: dict[str, str] = {}  # the member ids of ended processes

    def start(self, name: str) -> None:
        """Start a worker's process unless it is running."""
        if name in self.workers:
            return
        if name not in self._disks:
            self._folders += 1
            self._disks[name] = Disk(f"{name}-{self._folders}")
        self.history.append(f"{name} starts")
        self.workers[name] = Worker(self.broker, self._rules, self._disks[name])

    # --- steps ------------------------------------------------------------------------------------------

    def step(self, pick: int, schedule: Schedule = ANY_ORDER) -> bool:
        """Make one ready step and audit; return False if there is none. pick: selects the step."""
        late = self._slot(schedule.late)
        choice: list[tuple[str, str | Transaction]] = [
            (BROKER, transaction)
            for transaction in self.broker.deciding
            if schedule.held != BROKER and transaction.producer != late
        ]
        for name, worker in self.workers.items():
            if name not in self.paused and schedule.only in ("", name):
                choice += [(name, task) for task in worker.ready() if task != schedule.held]
        if not choice:
            return False
        self._do(*choice[pick % len(choice)], pick // len(choice))
        return True

    def _slot(self, name: str) -> str:
        return self._disks[name].slot if name in self._disks else ""

    def _do(self, name: str, what: str | Transaction, pick: int) -> None:
        if isinstance(what, Transaction):
            self.history.append(f"a marker of {what.producer} is written")
            self.broker.write_marker(what, pick)
            return
        worker = self.workers[name]
        wait = worker.tasks[what].wait
        before = "" if wait is None else wait.before
        self.steps[before] += 1
        self.history.append(f"{name}: {before}")
        worker.step(what, pick)
        if worker.failure is not None:
            raise self._break(f"{name} ends: {worker.failure!r}")
        if worker.stopped:
            self.crash(name)
        try:
            self.audit.check()
        except AuditError as exc:
            raise self._break(str(exc)) from exc

    def _break(self, problem: str) -> AuditError:
        self.broken = True
        return AuditError("\n".join([problem, *self.history]))

    def run(self, seed: int, steps: int, schedule: Schedule = ANY_ORDER) -> None:
        """Make up to `steps` steps in a random order drawn from the seed."""
        random = Random(seed)  # noqa: S311  (a schedule)
        for _ in range(steps):
            if not self.step(random.getrandbits(16), schedule):
                return

    def run_to(self, name: str, place: str, seed: int, *, alone: bool = False) -> bool:
        """Run until this worker is right before a step; return False if it does not get there.

        alone: only this worker makes steps, and none of its markers is written.
        """
        random = Random(seed)  # noqa: S311  (a schedule)
        own = Schedule(only=name, late=name if alone else "")
        for _ in range(150):
            if name not in self.workers or name in self.paused:
                return False
            if self.workers[name].at(place):
                return True
            pick = random.getrandbits(16)
            made = (alone or random.random() < 0.5) and self.step(pick, own)
            if not made and (alone or not self.step(pick)):
                return False
        return False

    def run_until_idle(self) -> None:
        """Run all workers in turns until no step is left."""
        for turn in range(_MAX_STEPS_TO_IDLE):
            if not self._step_in_turn(turn):
                return
        raise self._break(f"not idle after {_MAX_STEPS_TO_IDLE} steps")

    def make(self, name: str, task: str) -> None:
        """Make the next step of a task, which must be ready."""
        if task not in self.workers[name].ready():
            raise ValueError(f"{task} of {name} is not ready, only {self.workers[name].ready()}")
        self._do(name, task, 0)

    def write_marker(self, name: str, pick: int) -> None:
        """Write one of the due markers of a worker's transaction."""
        for transaction in self.broker.deciding:
            if transaction.producer == self._slot(name):
                self._do(BROKER, transaction, pick)
                return

    # --- input and faults -------------------------------------------------------------------------------

    def produce(self, where: TopicPartition, key: bytes, value: bytes, fate: State | None) -> None:
        """Append an input record. fate: the outcome of its transaction; None for no transaction."""
        log = self.broker.logs[where]
        transaction = None if fate is None else Transaction("input")
        record = log.append(key, value, transaction)
        if transaction is not None and fate is not None:
            transaction.state = fate
            log.end(transaction)
        if fate is not State.ABORTED:
            self.audit.expect(record)
        self.history.append(f"{where.topic}[{where.partition}]@{record.offset} {key!r} {fate}")

    def crash(self, name: str, *, wipe: bool = False) -> None:
        """Kill a process. wipe: also delete its state folder."""
        worker = self.workers.pop(name, None)
        if worker is not None:
            self.history.append(f"{name} ends")
            self._members[name] = worker.member_id
        self.paused.discard(name)
        if wipe and self._disks.pop(name, None) is not None:
            self.history.append(f"{name}'s folder is deleted")

    def stop(self, name: str) -> None:
        """Stop a process gracefully: it commits what is ready and leaves the group."""
        if name in self.workers:
            self.history.append(f"{name} is asked to stop")
            self.workers[name].stopping = True

    def pause(self, name: str) -> None:
        """Pause a process."""
        if name in self.workers:
            self.history.append(f"{name} is paused")
            self.paused.add(name)

    def wake(self, name: str) -> None:
        """Resume a paused process."""
        if name in self.paused:
            self.history.append(f"{name} is woken")
            self.paused.discard(name)

    def seek_to_committed(self, name: str) -> None:
        """Make a worker's client seek to the committed offsets by itself."""
        if name in self.workers:
            self.history.append(f"{name}'s client seeks to the committed offsets")
            self.workers[name].delivery.seek_to_committed()

    def expire(self, name: str) -> None:
        """Expire a worker's session in the group, whether it is running or not."""
        worker = self.workers.get(name)
        member = self._members.get(name, "") if worker is None else worker.member_id
        if member in self.broker.group.members:
            self.history.append(f"{name}'s session expires")
            self.broker.group.remove(member)

    def rebalance(self) -> None:
        """Begin a rebalance."""
        self.history.append("the group rebalances")
        self.broker.group.rebalance()

    def time_out_rebalance(self) -> None:
        """Complete a rebalance without the members that have not rejoined."""
        if self.broker.group.preparing:
            self.history.append("the rebalance times out")
            self.broker.group.time_out_rebalance()

    def time_out(self, name: str) -> None:
        """Time out a worker's open transaction."""
        if name in self._disks and self.broker.time_out(self._disks[name].slot):
            self.history.append(f"{name}'s transaction times out")

    # --- idleness ---------------------------------------------------------------------------------------

    def end_faults_and_audit(self) -> None:
        """End all faults, run all workers until no step is left, and audit. Raises AuditError."""
        self.history.append("all faults end")
        for name in WORKERS:
            self.wake(name)
        for turn in range(_MAX_STEPS_TO_IDLE):
            self.expire_ended_processes()
            for name in WORKERS:
                self.start(name)
            if not self._step_in_turn(turn):
                break
        else:
            raise self._break(f"not idle after {_MAX_STEPS_TO_IDLE} steps")
        stores = {n: store.values for worker in self.workers.values() for n, store in worker.stores.items()}
        try:
            self.audit.settle(stores)
        except AuditError as exc:
            raise self._break(str(exc)) from exc

    def expire_ended_processes(self) -> None:
        """Expire the sessions and time out the transactions of ended processes."""
        group = self.broker.group
        alive = {worker.member_id for worker in self.workers.values()}
        for member in [member for member in group.members if member not in alive]:
            group.remove(member)
        slots = {worker.disk.slot for worker in self.workers.values()}
        for producer in self.broker.producers:
            if producer not in slots:
                self.broker.time_out(producer)

    def _step_in_turn(self, turn: int) -> bool:
        """Make a step: the broker's first, then the workers' in turns; a revocation times out only as a last resort."""
        if self.broker.deciding:
            self._do(BROKER, self.broker.deciding[0], 0)
            return True
        ready = [(name, task) for name, worker in self.workers.items() for task in worker.ready()]
        bound = [pair for pair in ready if self._is_bound(*pair)]
        choice = [pair for pair in ready if pair not in bound] or bound
        if choice:
            self._do(*choice[turn % len(choice)], 0)
        return bool(choice)

    def _is_bound(self, name: str, task: str) -> bool:
        wait = self.workers[name].tasks[task].wait
        return wait is not None and wait.before == "revocation timeout"
