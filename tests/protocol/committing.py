"""A commit in steps, in the order of stream/exactly_once/driver/committing.py and kafka/transactions.py."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.exactly_once.units.errors import FencedError, TransactionEndedError
from stream.exactly_once.units.group_metadata import group_metadata
from stream.exactly_once.units.records import Epoch, Output, TopicPartition
from stream.exactly_once.units.unit import Unit
from tests.protocol.broker import AbortableError, ProducerFencedError
from tests.protocol.group import GroupMovedOnError
from tests.protocol.steps import Steps, Wait
from tests.protocol.topics import CHANGELOG, OUTPUT, TABLE

if TYPE_CHECKING:
    from tests.protocol.worker import Worker

Positions = dict[int, int]
"""By partition: the offset after its last changelog record."""


@dataclass(frozen=True)
class Content:
    """The content of one transaction. epoch: of its units."""

    outputs: Sequence[Output]
    offsets: Mapping[TopicPartition, int]
    epoch: Epoch


def commit(worker: "Worker", units: Sequence[Unit]) -> Steps:
    """Finish the units and commit them. Raises FencedError when they must be read again."""
    rules = worker.rules
    outputs: list[Output] = []
    offsets: dict[TopicPartition, int] = {}
    changes: dict[int, dict[bytes, bytes]] = {}
    for unit in units:
        for work in unit.works:
            for partition, name, value in work.jobs:
                unit.emit(OUTPUT, name, value, partition=partition)
        outputs += unit.outputs
        offsets.update(unit.offsets)
        for (partition, key), value in unit.layers[TABLE].items():
            changes.setdefault(partition, {})[key] = value
    for partition, changed in changes.items():
        outputs += [Output(CHANGELOG, key, value, partition, None) for key, value in changed.items()]
    if not rules.offsets_in_every_unit and units[-1].number % 2:
        offsets = {}
    if not rules.write_after_commit:
        yield from _write_stores(worker, changes, {})
    together = Content(outputs, offsets, units[0].epoch)
    if rules.one_transaction:
        positions = yield from _write(worker, together)
    else:
        positions = yield from _write(worker, Content(outputs, {}, together.epoch))
        yield from _write(worker, Content([], offsets, together.epoch))
    if rules.write_after_commit:
        yield from _write_stores(worker, changes, positions)


def _write_stores(
    worker: "Worker", changes: Mapping[int, Mapping[bytes, bytes]], positions: Positions
) -> Steps:
    for partition, changed in changes.items():
        yield Wait("write to RocksDB")
        store = worker.stores[partition]
        store.values.update(changed)
        store.position = positions.get(partition, store.position)


def _write(worker: "Worker", content: Content) -> Generator[Wait, int, Positions]:
    """Commit as TransactionWriter.commit does: retry an abort from memory, replace a fenced producer."""
    while True:
        try:
            try:
                return (yield from _attempt(worker, content))
            except AbortableError:
                yield from _abort(worker)
            except GroupMovedOnError as exc:
                yield from _abort(worker)
                raise FencedError(str(exc)) from exc
        except ProducerFencedError as exc:
            yield from take_over(worker)
            if worker.rules.rejoin_when_ended:
                raise TransactionEndedError(str(exc)) from exc


def take_over(worker: "Worker") -> Steps:
    """Initialise the transactional id, as at a start: its open transaction is aborted first."""
    broker, name = worker.broker, worker.disk.slot
    epoch = None
    while epoch is None:
        yield Wait("take over the transactional id", lambda: not broker.busy(name))
        epoch = broker.init(name)
    worker.producer_epoch = epoch


def _abort(worker: "Worker") -> Steps:
    yield Wait("abort")
    worker.broker.end(worker.disk.slot, worker.producer_epoch, commit=False)


def _attempt(worker: "Worker", content: Content) -> Generator[Wait, int, Positions]:
    broker, name, epoch = worker.broker, worker.disk.slot, worker.producer_epoch
    pick = yield Wait("begin", lambda: not broker.busy(name))
    positions: Positions = {}
    late = pick % 2 == 1  # librdkafka sends records in the background; only the commit waits for them
    if not late:
        yield from _produce(worker, content.outputs, positions)
    if content.offsets:
        yield Wait("send offsets")
        broker.send_offsets(name, epoch, content.offsets, _metadata(worker, content.epoch))
    if late:
        yield from _produce(worker, content.outputs, positions)
    yield Wait("commit")
    broker.end(name, epoch, commit=True)
    # With 7, the answer is lost. With 6, it is an error after a long outage of the brokers.
    while (pick := (yield Wait("receive the commit result"))) % 8 == 7:
        if not worker.rules.repeat_commit:
            return (yield from _attempt(worker, content))
        broker.end(name, epoch, commit=True)
    if pick % 16 == 6:
        raise ProducerFencedError(f"{name} does not know the outcome of its commit")
    return positions


def _produce(worker: "Worker", outputs: Sequence[Output], positions: Positions) -> Steps:
    """Produce in one step per partition, as a producer sends batches."""
    batches: dict[TopicPartition, list[Output]] = {}
    for output in outputs:
        batches.setdefault(TopicPartition(output.topic, output.partition or 0), []).append(output)
    for where, batch in batches.items():
        pick = yield Wait(f"produce to {where.topic}")
        if pick % 16 == 15:
            raise AbortableError
        for output in batch:
            offset = worker.broker.produce(
                worker.disk.slot, worker.producer_epoch, where, output.key or b"", output.value or b""
            )
            if where.topic == CHANGELOG:
                positions[where.partition] = offset + 1


def _metadata(worker: "Worker", epoch: Epoch) -> Epoch:
    if not worker.rules.frozen_epoch:
        return worker.shown
    group_metadata("group", epoch)  # refuses metadata that the broker would not check
    return epoch
