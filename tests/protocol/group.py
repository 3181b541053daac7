"""The consumer group: generations, members, committed offsets, and offsets of open transactions."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from stream.exactly_once.units.records import Epoch, TopicPartition

if TYPE_CHECKING:
    from tests.protocol.broker import Transaction


class GroupMovedOnError(Exception):
    """The broker's errors ILLEGAL_GENERATION and UNKNOWN_MEMBER_ID."""


class Answer(Enum):
    """The answer to a member that gets no assignment, or whose heartbeat fails."""

    UNKNOWN = auto()  # it is not a member any more
    REJOIN = auto()  # a rebalance is running


@dataclass(frozen=True)
class Assignment:
    """A member's partitions in a generation."""

    generation: int
    partitions: tuple[int, ...]


class Group:
    """The classic group protocol: a rebalance waits until every member has rejoined, or until it times out."""

    def __init__(self, partitions: int) -> None:
        self.generation = 0
        self.preparing = False
        self.members: dict[str, bool] = {}  # whether each member has joined the next generation
        self.offsets: dict[TopicPartition, int] = {}
        self.pending: set[Transaction] = set()
        self._partitions = partitions
        self._assigned: dict[str, tuple[int, ...]] = {}
        self._ids = 0

    # --- membership -------------------------------------------------------------------------------------

    def join(self, member: str) -> str:
        """Join the next generation and return the member's id; an unknown member gets a new one."""
        if member not in self.members:
            self._ids += 1
            member = f"member-{self._ids}"
        self.members[member] = True
        self.preparing = True
        self._complete_if_all_joined()
        return member

    def rebalance(self) -> None:
        """Begin a rebalance, which every member must join."""
        if self.members:
            self.preparing = True

    def remove(self, member: str) -> None:
        """Remove a member that has left or whose session has expired."""
        if self.members.pop(member, None) is not None:
            self.preparing = True
            self._complete_if_all_joined()

    def time_out_rebalance(self) -> None:
        """Time out the rebalance: remove the members that have not joined."""
        if self.preparing:
            self.members = {member: True for member, joined in self.members.items() if joined}
            self._complete_if_all_joined()

    def _complete_if_all_joined(self) -> None:
        if not all(self.members.values()):
            return
        self.generation += 1
        self.preparing = False
        self.members = dict.fromkeys(self.members, False)
        names = sorted(self.members)
        self._assigned = dict.fromkeys(names, ())
        for number in range(self._partitions if names else 0):
            name = names[(number + self.generation) % len(names)]  # partitions move in each generation
            self._assigned[name] = (*self._assigned[name], number)

    def joined(self, member: str) -> Assignment | Answer | None:
        """Return the result of a member's join; None while the group waits for others."""
        waits = self.members.get(member)
        if waits is None:
            return Answer.UNKNOWN
        if waits:
            return None
        return Answer.REJOIN if self.preparing else Assignment(self.generation, self._assigned[member])

    def heartbeat(self, epoch: Epoch) -> Answer | None:
        """Return None if nothing has changed for this member."""
        if epoch.member_id not in self.members or epoch.generation != self.generation:
            return Answer.UNKNOWN
        return Answer.REJOIN if self.preparing else None

    # --- offsets ----------------------------------------------------------------------------------------

    def check(self, member: Epoch) -> None:
        """Check the generation of a transaction's offsets, as the broker does.

        Generation -1 with an empty member id is not checked. During a rebalance the old generation is still accepted.
        Raises GroupMovedOnError for any other generation or member.
        """
        if member.generation < 0 and not member.member_id:
            return
        if member.member_id not in self.members or member.generation != self.generation:
            raise GroupMovedOnError(f"{member} is not of generation {self.generation}")

    def is_stable(self, inputs: list[TopicPartition]) -> bool:
        """Return whether no unfinished transaction contains offsets of these inputs."""
        return not any(where in transaction.offsets for transaction in self.pending for where in inputs)

    def end(self, transaction: "Transaction") -> None:
        """Write the marker of a transaction: commit or discard all pending offsets of its producer."""
        for ended in [each for each in self.pending if each.producer == transaction.producer]:
            self.pending.discard(ended)
            if transaction.kept and ended is not transaction:
                self.offsets.update(ended.offsets)
        if transaction.kept:
            self.offsets.update(transaction.offsets)
