"""Commits units on the commit thread: finish, one transaction, one WriteBatch per partition."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stream.exactly_once.kafka.recovery import Changelog, Recovered, RecoveryPlan
from stream.exactly_once.kafka.store import Change, PartitionStore, Position
from stream.exactly_once.units.group_metadata import group_metadata
from stream.exactly_once.units.processor import Processor
from stream.exactly_once.units.records import Epoch, Output, TopicPartition
from stream.exactly_once.units.topic_ids import encode_topic_ids
from stream.exactly_once.units.unit import Unit

if TYPE_CHECKING:
    from stream.exactly_once.driver.table import LayeredTable
    from stream.exactly_once.kafka.transactions import TransactionWriter


_CONFIRMED_AT_AGE = 0.1  # fraction of the changelog's delete.retention.ms, after which a store may be rebuilt


class UnitCommitter:
    """Commits scored units. Not thread-safe."""

    def __init__(
        self,
        plan: RecoveryPlan,
        tables: Sequence["LayeredTable[Any]"],
        writer: "TransactionWriter",
        processor: Processor,
        group_instance_id: str | None,
    ) -> None:
        self._plan = plan
        self._tables = tables
        self._writer = writer
        self._processor = processor
        self._group_instance_id = group_instance_id

    def commit(
        self,
        units: Sequence[Unit],
        results: Sequence[Sequence[Any]],
        stores: Mapping[int, PartitionStore],
        commit_metadata: str,
    ) -> None:
        """Commit units in one transaction, then write their state to the stores.

        units: of one epoch, oldest first. results: scorer results of each unit's works. commit_metadata: metadata of
        the committed offsets. Raises what TransactionWriter.commit raises, and StoreError when the transaction is
        committed but the local write failed; the next start then restores the store from its changelog.
        """
        metadata = group_metadata(self._plan.group_id, units[0].epoch, self._group_instance_id)
        outputs: list[Output] = []
        offsets: dict[TopicPartition, int] = {}
        for unit, of_unit in zip(units, results, strict=True):
            for work, result in zip(unit.works, of_unit, strict=True):
                self._processor.finish(work, result, unit)
            outputs += unit.outputs
            offsets.update(unit.offsets)
        changes: dict[int, list[Change]] = {}
        last: dict[TopicPartition, int] = {}  # changelog partition -> index of its last record
        for table, changelog in zip(self._tables, self._plan.changelogs, strict=True):
            newest = {
                (partition, key): value
                for unit in units
                for partition, key, value in table.encode_changes(unit)
            }
            for (partition, key), value in newest.items():
                changes.setdefault(partition, []).append((table.name, key, value))
                last[TopicPartition(changelog.topic, partition)] = len(outputs)
                outputs.append(Output(changelog.topic, key, value, partition, None))
        written = self._writer.commit(outputs, offsets, metadata, last, commit_metadata)
        self._write_stores(stores, changes, written)

    def commit_start_offsets(self, epoch: Epoch, recovered: Recovered) -> None:
        """Commit only the start offsets of an epoch, so that later epochs do not decide them again.

        Otherwise each epoch would reset an idle partition again and skip records that arrived meanwhile.
        """
        metadata = group_metadata(self._plan.group_id, epoch, self._group_instance_id)
        self._writer.commit([], recovered.starts, metadata, {}, encode_topic_ids(recovered.topic_ids))

    def _write_stores(
        self,
        stores: Mapping[int, PartitionStore],
        changes: Mapping[int, list[Change]],
        written: Mapping[TopicPartition, int],
    ) -> None:
        now_ms = int(time.time() * 1000)
        for partition, made in changes.items():
            positions: dict[str, Position] = {}
            for changelog in self._plan.changelogs:
                offset = written.get(TopicPartition(changelog.topic, partition))
                if offset is None:
                    offset = _offset_to_confirm(stores[partition], changelog, now_ms)
                if offset is not None:
                    positions[changelog.table] = Position(changelog.topic_id, offset, now_ms)
            stores[partition].write(made, positions)


def _offset_to_confirm(store: PartitionStore, changelog: Changelog, now_ms: int) -> int | None:
    """Return the offset of an unchanged table whose completeness should be recorded again, or None.

    The table is complete: the broker accepted the commit, so no other worker has written to this partition's
    changelogs.
    """
    position = store.position(changelog.table)
    due_after_ms = _CONFIRMED_AT_AGE * changelog.delete_retention_ms
    if position is None or now_ms - position.written_at_ms < due_after_ms:
        return None
    return position.next_offset
