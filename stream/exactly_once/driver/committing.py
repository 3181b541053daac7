"""What happens to units on the commit thread: finish, one transaction, one WriteBatch a partition."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stream.exactly_once.kafka.recovery import Changelog, Recovered, RecoveryPlan
from stream.exactly_once.kafka.store import Change, PartitionStore, Position
from stream.exactly_once.units.group_metadata import group_metadata
from stream.exactly_once.units.processor import Processor
from stream.exactly_once.units.records import Epoch, Output, TopicPartition
from stream.exactly_once.units.topic_ids import note_of
from stream.exactly_once.units.unit import Unit

if TYPE_CHECKING:
    from stream.exactly_once.driver.table import LayeredTable
    from stream.exactly_once.kafka.transactions import TransactionWriter


_CONFIRMED_AT_AGE = 0.1  # of the changelog's delete.retention.ms, past which a store may be rebuilt


class UnitCommitter:
    """Commits units that are scored; for one thread."""

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
        note: str,
    ) -> None:
        """Commit units in one transaction, then write their state to the stores.

        units: oldest first, of one epoch; results: of their works. note: goes with the offsets, as their metadata.
        Raises what TransactionWriter.commit raises; StoreError when the transaction is committed and the local write
        failed: the next start brings the store up to its changelog.
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
        last: dict[TopicPartition, int] = {}  # a changelog partition -> the index of its last record
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
        written = self._writer.commit(outputs, offsets, metadata, last, note)
        self._write_stores(stores, changes, written)

    def settle(self, epoch: Epoch, recovered: Recovered) -> None:
        """Commit where an epoch starts, with nothing else: what was decided once must not be decided anew.

        Else a partition in which nothing comes would be reset again by each epoch, past what has come meanwhile.
        """
        metadata = group_metadata(self._plan.group_id, epoch, self._group_instance_id)
        self._writer.commit([], recovered.starts, metadata, {}, note_of(recovered.topic_ids))

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
                    offset = _to_confirm(stores[partition], changelog, now_ms)
                if offset is not None:
                    positions[changelog.table] = Position(changelog.topic_id, offset, now_ms)
            stores[partition].write(made, positions)


def _to_confirm(store: PartitionStore, changelog: Changelog, now_ms: int) -> int | None:
    """Return the offset of a table that was not written, if it is time to note that the table is complete still.

    It is: the broker took the commit, so no other worker has written to the changelogs of this partition.
    """
    position = store.position(changelog.table)
    due_after_ms = _CONFIRMED_AT_AGE * changelog.delete_retention_ms
    if position is None or now_ms - position.written_at_ms < due_after_ms:
        return None
    return position.next_offset
