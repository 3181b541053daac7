"""A broker in memory: logs with transactions and markers, producers with epochs, and one consumer group.

It keeps only what the protocol rests on. A transaction is decided in one step; each of its markers is written in a
step of its own, as a real broker's are, since it writes them to many partitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from stream.exactly_once.units.records import Epoch, TopicPartition
from tests.protocol.group import Group


class AbortableError(Exception):
    """The transaction must be aborted; the producer can go on."""


class ProducerFencedError(Exception):
    """The transactional id has a newer epoch: the process must end."""


class State(Enum):
    """Of a transaction. From COMMITTING and ABORTING on its fate is decided."""

    OPEN = auto()
    COMMITTING = auto()
    ABORTING = auto()
    COMMITTED = auto()
    ABORTED = auto()


class Participant(Protocol):
    """What gets a marker of a transaction: a log, or the group's offsets."""

    def end(self, transaction: "Transaction") -> None:
        """Write the marker."""
        ...


@dataclass(eq=False)
class Transaction:
    """Records and offsets that become visible together, by whom, and who still waits for a marker."""

    producer: str
    state: State = State.OPEN
    records: "list[Record]" = field(default_factory=list)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    participants: list[Participant] = field(default_factory=list)

    @property
    def decided(self) -> bool:
        """Whether markers are being written."""
        return self.state in (State.COMMITTING, State.ABORTING)

    @property
    def kept(self) -> bool:
        """Whether it is committed, by decision at least."""
        return self.state in (State.COMMITTING, State.COMMITTED)

    def take_part(self, participant: Participant) -> None:
        """Note that this one needs a marker."""
        if participant not in self.participants:
            self.participants.append(participant)

    def write_marker(self, index: int, *, dropped: bool = False) -> None:
        """Write one of the markers that are left. dropped: forget it instead, and count it as written."""
        participant = self.participants.pop(index % len(self.participants))
        if not dropped:
            participant.end(self)
        self.finish()

    def finish(self) -> None:
        """Be done when no marker is left."""
        if not self.participants:
            self.state = State.COMMITTED if self.kept else State.ABORTED


@dataclass(eq=False, slots=True)
class Record:
    """A record in a log; it serves as a SourceRecord."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    transaction: Transaction | None = None
    timestamp: int = 0


class Log:
    """A partition: records and markers, each at an offset of its own."""

    def __init__(self, where: TopicPartition) -> None:
        self.where = where
        self.entries: list[Record | None] = []  # None: a marker
        self._open: dict[Transaction, int] = {}  # a transaction without its marker -> its first offset

    @property
    def high(self) -> int:
        """The offset after the newest entry."""
        return len(self.entries)

    @property
    def stable(self) -> int:
        """The last stable offset: where the first open transaction begins."""
        return min(self._open.values(), default=self.high)

    def append(self, key: bytes, value: bytes, transaction: Transaction | None = None) -> Record:
        """Write a record."""
        record = Record(*self.where, self.high, key, value, transaction)
        self.entries.append(record)
        if transaction is not None:
            self._open.setdefault(transaction, record.offset)
            transaction.take_part(self)
            transaction.records.append(record)
        return record

    def end(self, transaction: Transaction) -> None:
        """Write the marker of a transaction. It ends all that its producer has open here, older transactions too."""
        for ended in [each for each in self._open if each.producer == transaction.producer]:
            del self._open[ended]
            for record in ended.records:
                if record.topic == self.where.topic and record.partition == self.where.partition:
                    record.transaction = transaction
        self.entries.append(None)

    def read(self, start: int, limit: int, *, committed: bool = True) -> tuple[list[Record], int]:
        """Return up to `limit` records from an offset on, and the offset after them; nothing past `stable`.

        committed: as read_committed, without what was aborted. Reaching the end skips the markers before it.
        """
        found: list[Record] = []
        end = self.stable if committed else self.high
        for offset in range(start, end):
            if len(found) == limit:
                return found, offset
            entry = self.entries[offset]
            if entry is not None and (not committed or entry.transaction is None or entry.transaction.kept):
                found.append(entry)
        return found, max(start, end)

    def visible(self) -> list[Record]:
        """Return what a read_committed reader sees."""
        return self.read(0, self.high)[0]


@dataclass
class Producer:
    """What the coordinator knows of a transactional id."""

    epoch: int = 0
    transaction: Transaction | None = None


class Broker:
    """Logs, the group, and the coordinator of transactions."""

    def __init__(
        self, logs: list[TopicPartition], partitions: int, *, markers_wait_for_leader: bool = True
    ) -> None:
        """markers_wait_for_leader: False drops one in four markers, as if its partition had no leader then."""
        self._markers_wait_for_leader = markers_wait_for_leader
        self.logs = {where: Log(where) for where in logs}
        self.group = Group(partitions)
        self.producers: dict[str, Producer] = {}
        self.kept: list[Transaction] = []  # committed, in the order of the decisions
        self.deciding: list[Transaction] = []  # with markers to write

    def init(self, name: str) -> int | None:
        """Fence older holders of the id and return its new epoch; None while an older transaction ends."""
        producer = self.producers.setdefault(name, Producer())
        if self.time_out(name) or self.busy(name):
            return None
        producer.epoch += 1
        return producer.epoch

    def busy(self, name: str) -> bool:
        """Whether markers of the id's transaction are being written: nothing new can begin."""
        producer = self.producers.get(name)
        return producer is not None and producer.transaction is not None and producer.transaction.decided

    def is_open(self, name: str) -> bool:
        """Whether the id has a transaction that nobody has decided."""
        producer = self.producers.get(name)
        return (
            producer is not None
            and producer.transaction is not None
            and (producer.transaction.state is State.OPEN)
        )

    def produce(self, name: str, epoch: int, where: TopicPartition, key: bytes, value: bytes) -> int:
        """Write a record in the id's transaction, which begins with it, and return its offset."""
        return self.logs[where].append(key, value, self._transaction(name, epoch)).offset

    def send_offsets(
        self, name: str, epoch: int, offsets: Mapping[TopicPartition, int], member: Epoch
    ) -> None:
        """Add offsets to the id's transaction; the group checks generation and member, now and only now."""
        transaction = self._transaction(name, epoch)
        self.group.check(member)
        transaction.offsets.update(offsets)
        transaction.take_part(self.group)
        self.group.pending.add(transaction)

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        """Decide the id's transaction; the same call again changes nothing."""
        producer = self._current(name, epoch)
        transaction = producer.transaction
        if transaction is None:
            return
        if transaction.state is State.OPEN:
            self._decide(transaction, commit=commit)
        elif transaction.kept is not commit:
            raise ProducerFencedError(f"{name}: its transaction was decided otherwise")

    def time_out(self, name: str) -> bool:
        """Abort the id's open transaction and fence its producer; False when there is none."""
        if not self.is_open(name):
            return False
        producer = self.producers[name]
        producer.epoch += 1
        if producer.transaction is not None:
            self._decide(producer.transaction, commit=False)
        return True

    def write_marker(self, transaction: Transaction, pick: int) -> None:
        """Write a marker of a decided transaction."""
        has_leader = self._markers_wait_for_leader or pick % 4 != 3
        transaction.write_marker(pick, dropped=not has_leader)
        if not transaction.decided:
            self.deciding.remove(transaction)

    def _current(self, name: str, epoch: int) -> Producer:
        producer = self.producers[name]
        if producer.epoch != epoch:
            raise ProducerFencedError(f"{name} has epoch {producer.epoch}, not {epoch}")
        return producer

    def _transaction(self, name: str, epoch: int) -> Transaction:
        producer = self._current(name, epoch)
        if producer.transaction is None or producer.transaction.state in (State.COMMITTED, State.ABORTED):
            producer.transaction = Transaction(name)
        if producer.transaction.decided:
            raise ProducerFencedError(f"{name}: its transaction has been decided")
        return producer.transaction

    def _decide(self, transaction: Transaction, *, commit: bool) -> None:
        transaction.state = State.COMMITTING if commit else State.ABORTING
        transaction.finish()
        if transaction.decided:
            self.deciding.append(transaction)
        if transaction.kept:
            self.kept.append(transaction)
