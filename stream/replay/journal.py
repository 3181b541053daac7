"""Stores plan and progress of a replay in Kafka, as committed offsets and commit metadata of its own group.

A committed plan never changes. A process that starts a replay takes the transactional id `{group}-plan`, which ends an
open transaction of another process, and only then reads the plan. If several machines start at once, only one plans.
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
from stream.replay.notes import decode_progress, encode_progress
from stream.replay.plan import PartitionPlan, Progress, ReplayPlan, first_progress

TRANSACTION_TIMEOUT_S = 20.0
MAX_RECORD_BYTES = 1_000_000
_ANSWER_S = 60.0
_PLANNED_S, _PAUSE_S = 10.0, 0.1


class Journal:
    """The committed plan and progress of one replay. Not thread-safe."""

    def __init__(
        self, client_config: Mapping[str, str], group_id: str, replay_id: str, events: str, partitions: int
    ) -> None:
        """events: the topic whose offsets are committed. partitions: its number of partitions."""
        self._client_config = client_config
        self.group_id = group_id
        self._replay_id = replay_id
        self._events = events
        self._all = [TopicPartition(events, number) for number in range(partitions)]
        self._consumer: Consumer = reader(client_config, group_id)
        self._uncommitted: Consumer = reader(
            client_config, group_id, **{"isolation.level": "read_uncommitted"}
        )

    @property
    def identity(self) -> bytes:
        """The group's metadata without a member; transactions are fenced by each partition's transactional id."""
        metadata: bytes = self._consumer.consumer_group_metadata()
        return metadata

    def look(
        self, patience_s: float = _ANSWER_S, stopped: Callable[[], bool] = lambda: False
    ) -> tuple[ReplayPlan, dict[int, Progress]] | None:
        """Return the plan and the progress of each partition; None if there is no plan.

        Does not wait for open transactions and ignores their offsets. Raises ReplayError, KafkaException.
        """
        # Only a read_committed consumer gets stable offsets, so this one does not wait.
        return self._decoded(self._committed(self._uncommitted, self._all, patience_s, stopped))

    def standing_of(self, partition: int) -> tuple[PartitionPlan, Progress] | None:
        """Return the plan and progress of a partition as last committed; None without a plan.

        Waits for an open transaction of the partition to end.
        """
        found = self._decoded(self._committed(self._consumer, [self._all[partition]]))
        return None if found is None else (found[0].partitions[partition], found[1][partition])

    def _committed(
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
                f"The brokers did not return the committed offsets of group {self.group_id!r} within {patience_s:g} s. "
                "Check that its coordinator is up."
            ) from exc

    def _decoded(
        self, found: Mapping[TopicPartition, Committed]
    ) -> tuple[ReplayPlan, dict[int, Progress]] | None:
        committed = {
            tp.partition: (one.offset, one.metadata) for tp, one in found.items() if one.offset is not None
        }
        return decode_progress(self._replay_id, committed) if committed else None

    def begin(self, plan: ReplayPlan, timeout_s: float) -> tuple[ReplayPlan, dict[int, Progress]]:
        """Commit a plan unless there is one, and return the valid plan. Raises the errors of TransactionWriter."""
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
        """Wait for the plan of the process that took over the id, and return it; None after _PLANNED_S."""
        deadline = time.monotonic() + _PLANNED_S
        while (standing := self.look()) is None and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        return standing

    def _commit_plan(
        self, plan: ReplayPlan, writer: TransactionWriter
    ) -> tuple[ReplayPlan, dict[int, Progress]]:
        progress = {number: first_progress(part) for number, part in plan.partitions.items()}
        metadata = {
            TopicPartition(self._events, number): encode_progress(plan, number, one)
            for number, one in progress.items()
        }
        offsets = {TopicPartition(self._events, number): one.events_next for number, one in progress.items()}
        writer.commit([], offsets, self.identity, {}, metadata)
        self._committed(self._consumer, self._all)  # wait until the offsets are stable and visible to look()
        return plan, progress

    def writer(self, what: str) -> TransactionWriter:
        """Return a transactional producer that is not initialized. what: a partition number, or "plan"."""
        return TransactionWriter(
            self._client_config,
            f"{self.group_id}-{what}",
            transaction_timeout_s=TRANSACTION_TIMEOUT_S,
            max_record_bytes=MAX_RECORD_BYTES,
            can_replace=False,  # a process that was suspended must not take a partition back from its successor
        )

    def close(self) -> None:
        """Close the consumers."""
        self._consumer.close()
        self._uncommitted.close()
