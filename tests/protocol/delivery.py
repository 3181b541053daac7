"""Delivery of records to the engine: the consumer's thread, Faust's flow control, and our own next offsets.

It follows stream/exactly_once/driver/transport.py and Faust's consumer, which use two threads: the event loop sees
messages of the consumer's thread in the order in which they are posted.
"""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from stream.exactly_once.units.records import Epoch, RecordBatch, SourceRecord, TopicPartition
from tests.protocol.broker import Broker, Record
from tests.protocol.rules import Rules
from tests.protocol.steps import Steps, Wait
from tests.protocol.topics import inputs_of

_RECORDS, _SOUGHT = "records", "sought"


class Delivery:
    """The consumer of one process."""

    def __init__(self, broker: Broker, rules: Rules, has_room: Callable[[], bool]) -> None:
        self.epoch: Epoch | None = None  # as of the last assignment
        self.assigned: tuple[int, ...] = ()
        self.queue: deque[RecordBatch] = deque()  # Faust's stream: delivered, not yet taken
        self._sought: Epoch | None = None  # the last epoch for which the consumer has sought
        self._broker = broker
        self._rules = rules
        self._has_room = has_room
        self._reassigning = True  # the fetcher returns nothing
        self._paused = False
        self._flow = False  # Faust starts fetching when the delivery of the first epoch is resumed
        self._positions: dict[TopicPartition, int] = {}
        self._delivered: dict[TopicPartition, int] = {}
        self._posted: deque[str] = deque()

    def assign(self, epoch: Epoch, partitions: tuple[int, ...]) -> None:
        """Set an assignment; the client starts at the committed offsets, stable or not."""
        self.epoch = epoch
        self.assigned = partitions
        self._positions = {where: self._broker.group.offsets.get(where, 0) for where in inputs_of(partitions)}
        self._paused = False
        self._reassigning = False

    def pause(self) -> None:
        """Pause the assigned partitions; Faust does so a little after the assignment."""
        self._paused = True

    def seek_to_committed(self) -> None:
        """Seek to the committed offsets, as clients sometimes do by themselves."""
        if not self._reassigning:
            committed = self._broker.group.offsets
            self._positions = {where: committed.get(where, 0) for where in inputs_of(self.assigned)}

    def prepare_revocation(self) -> None:
        """Return no records until the next assignment."""
        self._reassigning = True

    def stop_flow(self) -> None:
        """End the deliveries of an epoch, as Faust does after the engine's revocation."""
        if self.assigned:
            self._flow = False
            self.queue.clear()

    # --- fetching ---------------------------------------------------------------------------------------

    def fetch(self) -> Steps:
        """Request records, wait for them and deliver them, in a loop."""
        while True:
            yield Wait("request records", self._may_request)
            requested = inputs_of(self.assigned)
            pick = yield Wait("receive records", partial(self._may_receive, requested))
            records = self._take_records(requested, pick)
            epoch = self.epoch if self.epoch is self._sought or not self._rules.fetched_after_seek else None
            self._posted.append(_RECORDS)
            yield Wait("deliver", lambda: self._posted[0] == _RECORDS)
            self._posted.popleft()
            if records and epoch is not None:
                self._deliver(records, epoch)

    def _may_request(self) -> bool:
        return self._flow and not self._paused and bool(self.assigned) and self._has_room()

    def _may_receive(self, requested: list[TopicPartition]) -> bool:
        times_out = not self._flow or requested != inputs_of(self.assigned)
        return not self._reassigning and (times_out or bool(self._readable(requested)))

    def _readable(self, requested: list[TopicPartition]) -> list[TopicPartition]:
        logs = self._broker.logs
        return [
            where
            for where in requested
            if where in self._positions and logs[where].read(self._positions[where], 1)[0]
        ]

    def _take_records(self, requested: list[TopicPartition], pick: int) -> list[Record]:
        readable = self._readable(requested)
        if not readable:
            # The call has timed out.
            return []
        where = readable[pick % len(readable)]
        limit = 1 + pick // len(readable) % 3
        records, self._positions[where] = self._broker.logs[where].read(self._positions[where], limit)
        return records

    def _deliver(self, records: list[Record], epoch: Epoch) -> None:
        where = TopicPartition(records[0].topic, records[0].partition)
        base = self._delivered.get(where)
        if not self._flow or base is None or epoch is not self.epoch:
            return
        kept = [record for record in records if record.offset >= base or not self._rules.drop_below_base]
        if kept:
            end = self._delivered[where] = kept[-1].offset + 1
            batch = cast("list[SourceRecord]", kept)  # a SourceRecord may have a key and value of None
            self.queue.append(RecordBatch(where.topic, where.partition, batch, base, end, epoch))

    # --- the start of an epoch --------------------------------------------------------------------------

    def resume(self, starts: Mapping[TopicPartition, int]) -> Steps:
        """Seek to the start offsets and resume delivery."""
        yield Wait("count from the start")
        self._delivered = dict(starts)
        yield Wait("seek")
        self._positions = {where: starts.get(where, 0) for where in inputs_of(self.assigned)}
        self._sought = self.epoch
        self._posted.append(_SOUGHT)
        yield Wait("resume", lambda: self._posted[0] == _SOUGHT)
        self._posted.popleft()
        self._paused = False
        self._flow = True
