"""Plan and progress of a replay, in Kafka: the committed offsets of its own group, and the notes beside them.

A plan stands for good once it is committed. Whoever begins takes the transactional id `{group}-plan`, which ends what
another one left open, and only then looks whether there is a plan: so of several machines that begin at once one plans.
"""

import time
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer

from clients.consumers import reader
from stream.exactly_once.kafka.offsets import Cancelled, stable_offsets
from stream.exactly_once.kafka.transactions import TransactionWriter
from stream.exactly_once.units.errors import FatalTransactionError, FencedError
from stream.exactly_once.units.records import TopicPartition
from stream.exactly_once.units.topic_ids import Committed
from stream.replay.errors import NoAnswerError
from stream.replay.notes import note_of, read_notes
from stream.replay.plan import PartitionPlan, Progress, ReplayPlan, first_progress

TRANSACTION_TIMEOUT_S = 20.0
MAX_RECORD_BYTES = 1_000_000
_ANSWER_S = 60.0
_PLANNED_S, _PAUSE_S = 10.0, 0.1


class Journal:
    """What is committed of one replay. Not thread-safe."""

    def __init__(
        self, client_config: Mapping[str, str], group_id: str, replay_id: str, events: str, partitions: int
    ) -> None:
        """events: the topic whose offsets are committed. partitions: how many it has."""
        self._client_config = client_config
        self.group_id = group_id
        self._replay_id = replay_id
        self._events = events
        self._all = [TopicPartition(events, number) for number in range(partitions)]
        self._consumer: Consumer = reader(client_config, group_id)
        self._looker: Consumer = reader(client_config, group_id, **{"isolation.level": "read_uncommitted"})

    @property
    def identity(self) -> bytes:
        """The group's metadata without a member, for transactions: their own ids fence, a partition's each."""
        metadata: bytes = self._consumer.consumer_group_metadata()
        return metadata

    def look(
        self, patience_s: float = _ANSWER_S, stopped: Callable[[], bool] = lambda: False
    ) -> tuple[ReplayPlan, dict[int, Progress]] | None:
        """Return the plan and how far each of its partitions is; None if there is none yet.

        Waits for nobody: what a transaction still open will say is not seen. Raises ReplayError, KafkaException.
        """
        return self._notes(
            self._ask(self._looker, self._all, patience_s, stopped)
        )  # stable only for a read_committed consumer

    def standing_of(self, partition: int) -> tuple[PartitionPlan, Progress] | None:
        """Return a partition's plan, as it was last committed, and how far it is; None without a plan.

        Waits for an open transaction of it to end.
        """
        found = self._notes(self._ask(self._consumer, [self._all[partition]]))
        return None if found is None else (found[0].partitions[partition], found[1][partition])

    def _ask(
        self,
        consumer: Consumer,
        partitions: list[TopicPartition],
        patience_s: float = _ANSWER_S,
        stopped: Callable[[], bool] = lambda: False,
    ) -> dict[TopicPartition, Committed]:
        deadline = time.monotonic() + patience_s
        try:
            return stable_offsets(consumer, partitions, lambda: stopped() or time.monotonic() > deadline)
        except Cancelled as exc:
            raise NoAnswerError(
                f"The brokers do not say within {patience_s:g} s how far group {self.group_id!r} is: check that its "
                "coordinator is up."
            ) from exc

    def _notes(
        self, found: Mapping[TopicPartition, Committed]
    ) -> tuple[ReplayPlan, dict[int, Progress]] | None:
        committed = {
            tp.partition: (one.offset, one.note) for tp, one in found.items() if one.offset is not None
        }
        return read_notes(self._replay_id, committed) if committed else None

    def begin(self, plan: ReplayPlan, timeout_s: float) -> tuple[ReplayPlan, dict[int, Progress]]:
        """Commit a plan unless another was first; return the one that stands. Raises what TransactionWriter does."""
        writer = self.writer("plan")
        try:
            writer.init(timeout_s)
            return self.look() or self._commit_plan(plan, writer)
        except (FencedError, FatalTransactionError):
            standing = self._planned_elsewhere()
            if standing is None:
                raise
            return standing
        finally:
            writer.close()

    def _planned_elsewhere(self) -> tuple[ReplayPlan, dict[int, Progress]] | None:
        """Return the plan of who took the id over in between, which may take a moment; None if there comes none."""
        deadline = time.monotonic() + _PLANNED_S
        while (standing := self.look()) is None and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        return standing

    def _commit_plan(
        self, plan: ReplayPlan, writer: TransactionWriter
    ) -> tuple[ReplayPlan, dict[int, Progress]]:
        progress = {number: first_progress(part) for number, part in plan.partitions.items()}
        notes = {
            TopicPartition(self._events, number): note_of(plan, number, one)
            for number, one in progress.items()
        }
        offsets = {TopicPartition(self._events, number): one.events_next for number, one in progress.items()}
        writer.commit([], offsets, self.identity, {}, notes)
        self._ask(self._consumer, self._all)  # until the group shows it to those who wait for nobody, too
        return plan, progress

    def writer(self, what: str) -> TransactionWriter:
        """Return a transactional producer, not initialised. what: a partition's number, or the plan."""
        return TransactionWriter(
            self._client_config,
            f"{self.group_id}-{what}",
            transaction_timeout_s=TRANSACTION_TIMEOUT_S,
            max_record_bytes=MAX_RECORD_BYTES,
            replaces=False,  # one that woke up late must not take a partition back from its successor
        )

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()
        self._looker.close()
