"""A broker in memory: logs with transactions and markers, producers with epochs, and one consumer group.

It models only what the protocol depends on. The outcome of a transaction is decided in one step, and each of its
markers is written in a separate step, as by a real broker, which writes them to many partitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from stream.exactly_once.units.records import Epoch, TopicPartition
from tests.protocol.group import Group


class AbortableError(Exception):
    """The transaction must be aborted; the producer remains usable."""


class ProducerFencedError(Exception):
    """The transactional id has a newer epoch, or its transaction is decided otherwise."""


class State(Enum):
    """The state of a transaction; its outcome is decided in every state but OPEN."""

    OPEN = auto()
    COMMITTING = auto()
    ABORTING = auto()
    COMMITTED = auto()
    ABORTED = auto()


class Participant(Protocol):
    """A receiver of a transaction's markers: a log, or the group's offsets."""

    def end(self, transaction: "Transaction") -> None:
        """Write the marker."""
        ...


@dataclass(eq=False)
class Transaction:
    """Records and offsets that become visible together. participants: those without a marker yet."""

    producer: str
    state: State = State.OPEN
    records: "list[Record]" = field(default_factory=list)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    participants: list[Participant] = field(default_factory=list)

    @property
    def decided(self) -> bool:
        """Whether the outcome is decided and markers are still to be written."""
        return self.state in (State.COMMITTING, State.ABORTING)

    @property
    def kept(self) -> bool:
        """Whether the outcome is a commit."""
        return self.state in (State.COMMITTING, State.COMMITTED)

    def take_part(self, participant: Participant) -> None:
        """Add a participant that needs a marker."""
        if participant not in self.participants:
            self.participants.append(participant)

    def write_marker(self, index: int, *, dropped: bool = False) -> None:
        """Write one of the remaining markers. dropped: skip it, and count it as written."""
        participant = self.participants.pop(index % len(self.participants))
        if not dropped:
            participant.end(self)
        self.finish()

    def finish(self) -> None:
        """Enter the final state if no marker is left."""
        if not self.participants:
            self.state = State.COMMITTED if self.kept else State.ABORTED


@dataclass(eq=False, slots=True)
class Record:
    """A record in a log; it satisfies the protocol SourceRecord."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    transaction: Transaction | None = None
    timestamp: int = 0


class Log:
    """A partition: records and markers, each with its own offset."""

    def __init__(self, where: TopicPartition) -> None:
        self.where = where
        self.entries: list[Record | None] = []  # None: a marker
        self._open: dict[Transaction, int] = {}  # the first offset of each transaction without a marker

    @property
    def high(self) -> int:
        """The high watermark: the offset after the newest entry."""
        return len(self.entries)

    @property
    def stable(self) -> int:
        """The last stable offset: the first offset of the oldest open transaction."""
        return min(self._open.values(), default=self.high)

    def append(self, key: bytes, value: bytes, transaction: Transaction | None = None) -> Record:
        """Append a record."""
        record = Record(*self.where, self.high, key, value, transaction)
        self.entries.append(record)
        if transaction is not None:
            self._open.setdefault(transaction, record.offset)
            transaction.take_part(self)
            transaction.records.append(record)
        return record

    def end(self, transaction: Transaction) -> None:
        """Write the marker of a transaction. It also ends older transactions of its producer in this log."""
        for ended in [each for each in self._open if each.producer == transaction.producer]:
            del self._open[ended]
            for record in ended.records:
                if record.topic == self.where.topic and record.partition == self.where.partition:
                    record.transaction = transaction
        self.entries.append(None)

    def read(self, start: int, limit: int, *, committed: bool = True) -> tuple[list[Record], int]:
        """Return up to `limit` records from an offset, and the next offset.

        committed: as read_committed, up to `stable` and without aborted records; else up to `high`. At the end, the
        next offset is after trailing markers.
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
        """Return all records that a read_committed reader sees."""
        return self.read(0, self.high)[0]


@dataclass
class Producer:
    """The coordinator's state of a transactional id."""

    epoch: int = 0
    transaction: Transaction | None = None


class Broker:
    """Logs, the group, and the transaction coordinator."""

    def __init__(
        self, logs: list[TopicPartition], partitions: int, *, markers_wait_for_leader: bool = True
    ) -> None:
        """markers_wait_for_leader: False drops one marker in four, as if its partition had no leader."""
        self._markers_wait_for_leader = markers_wait_for_leader
        self.logs = {where: Log(where) for where in logs}
        self.group = Group(partitions)
        self.producers: dict[str, Producer] = {}
        self.kept: list[Transaction] = []  # committed, in the order of the decisions
        self.deciding: list[Transaction] = []  # decided, with markers to write

    def init(self, name: str) -> int | None:
        """Fence older producers of the id and return its new epoch; None while an older transaction is ending."""
        producer = self.producers.setdefault(name, Producer())
        if self.time_out(name) or self.busy(name):
            return None
        producer.epoch += 1
        return producer.epoch

    def busy(self, name: str) -> bool:
        """Return whether the id's transaction still has markers to write, so that no new one can begin."""
        producer = self.producers.get(name)
        return producer is not None and producer.transaction is not None and producer.transaction.decided

    def is_open(self, name: str) -> bool:
        """Return whether the id has an undecided transaction."""
        producer = self.producers.get(name)
        return (
            producer is not None
            and producer.transaction is not None
            and (producer.transaction.state is State.OPEN)
        )

    def produce(self, name: str, epoch: int, where: TopicPartition, key: bytes, value: bytes) -> int:
        """Append a record in the id's transaction, which it begins if necessary; return its offset."""
        return self.logs[where].append(key, value, self._transaction(name, epoch)).offset

    def send_offsets(
        self, name: str, epoch: int, offsets: Mapping[TopicPartition, int], member: Epoch
    ) -> None:
        """Add offsets to the id's transaction; only this call checks the generation and member."""
        transaction = self._transaction(name, epoch)
        self.group.check(member)
        transaction.offsets.update(offsets)
        transaction.take_part(self.group)
        self.group.pending.add(transaction)

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        """Commit or abort the id's transaction; a repeated call changes nothing."""
        producer = self._current(name, epoch)
        transaction = producer.transaction
        if transaction is None:
            return
        if transaction.state is State.OPEN:
            self._decide(transaction, commit=commit)
        elif transaction.kept is not commit:
            raise ProducerFencedError(f"{name}: its transaction has the opposite outcome")

    def time_out(self, name: str) -> bool:
        """Abort the id's open transaction and fence its producer; return False if there is none."""
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
            raise ProducerFencedError(f"{name}: its transaction is already decided")
        return producer.transaction

    def _decide(self, transaction: Transaction, *, commit: bool) -> None:
        transaction.state = State.COMMITTING if commit else State.ABORTING
        transaction.finish()
        if transaction.decided:
            self.deciding.append(transaction)
        if transaction.kept:
            self.kept.append(transaction)
