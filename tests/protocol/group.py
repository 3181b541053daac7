"""The consumer group: generations, members, and committed offsets with those that still depend on a transaction."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from stream.exactly_once.units.records import Epoch, TopicPartition

if TYPE_CHECKING:
    from tests.protocol.broker import Transaction


class GroupMovedOnError(Exception):
    """ILLEGAL_GENERATION or UNKNOWN_MEMBER_ID."""


class Answer(Enum):
    """What a member hears when it does not get an assignment or a plain heartbeat."""

    UNKNOWN = auto()  # it is no member any more
    REJOIN = auto()  # a rebalance goes on


@dataclass(frozen=True)
class Assignment:
    """A member's part of a generation."""

    generation: int
    partitions: tuple[int, ...]


class Group:
    """The classic protocol: a rebalance waits until every member has joined again, or gives up on the others."""

    def __init__(self, partitions: int) -> None:
        self.generation = 0
        self.preparing = False
        self.members: dict[str, bool] = {}  # member id -> whether it has joined the generation to come
        self.offsets: dict[TopicPartition, int] = {}
        self.pending: set[Transaction] = set()
        self._partitions = partitions
        self._assigned: dict[str, tuple[int, ...]] = {}
        self._ids = 0

    # --- membership -------------------------------------------------------------------------------------

    def join(self, member: str) -> str:
        """Join the next generation, and return the member's id: a new one unless the group knows it."""
        if member not in self.members:
            self._ids += 1
            member = f"member-{self._ids}"
        self.members[member] = True
        self.preparing = True
        self._complete_if_all_joined()
        return member

    def rebalance(self) -> None:
        """Ask everyone to join again."""
        if self.members:
            self.preparing = True

    def remove(self, member: str) -> None:
        """Forget a member: it left, or its session has expired."""
        if self.members.pop(member, None) is not None:
            self.preparing = True
            self._complete_if_all_joined()

    def give_up_waiting(self) -> None:
        """The rebalance time-out: those that have not joined are members no more."""
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
            name = names[(number + self.generation) % len(names)]  # so that partitions move
            self._assigned[name] = (*self._assigned[name], number)

    def joined(self, member: str) -> Assignment | Answer | None:
        """Return what the join of a member came to; None while the group waits for others."""
        waits = self.members.get(member)
        if waits is None:
            return Answer.UNKNOWN
        if waits:
            return None
        return Answer.REJOIN if self.preparing else Assignment(self.generation, self._assigned[member])

    def heartbeat(self, epoch: Epoch) -> Answer | None:
        """Return None when nothing has changed for this member."""
        if epoch.member_id not in self.members or epoch.generation != self.generation:
            return Answer.UNKNOWN
        return Answer.REJOIN if self.preparing else None

    # --- offsets ----------------------------------------------------------------------------------------

    def check(self, member: Epoch) -> None:
        """Refuse offsets in a transaction from one who is not of this generation, as the broker does.

        It skips the check for generation -1 with an empty member id, and while members join it still takes the
        old generation.
        """
        if member.generation < 0 and not member.member_id:
            return
        if member.member_id not in self.members or member.generation != self.generation:
            raise GroupMovedOnError(f"{member} is not of generation {self.generation}")

    def is_stable(self, inputs: list[TopicPartition]) -> bool:
        """Whether no transaction that holds offsets of these waits for its end."""
        return not any(where in transaction.offsets for transaction in self.pending for where in inputs)

    def end(self, transaction: "Transaction") -> None:
        """Write the marker of a transaction: all offsets that its producer has pending count from now on, or never."""
        for ended in [each for each in self.pending if each.producer == transaction.producer]:
            self.pending.discard(ended)
            if transaction.kept and ended is not transaction:
                self.offsets.update(ended.offsets)
        if transaction.kept:
            self.offsets.update(transaction.offsets)
