"""The start of an epoch in steps, as in stream/exactly_once/kafka/recovery.py and the engine."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from stream.exactly_once.units.errors import OffsetOutOfRangeError
from stream.exactly_once.units.records import Epoch, TopicPartition
from stream.exactly_once.units.topic_ids import Committed, find_lost
from tests.protocol.steps import Steps, Wait
from tests.protocol.topics import CHANGELOG, inputs_of

if TYPE_CHECKING:
    from tests.protocol.worker import Worker

Partitions = tuple[int, ...]
Offsets = dict[TopicPartition, Committed]


def start_epoch(worker: "Worker", epoch: Epoch, partitions: Partitions) -> Steps:
    """Restore the stores from the changelog, adopt the epoch and resume delivery; stop if the group moves on."""

    def over() -> bool:
        return worker.over(epoch)

    committed: Offsets = {}
    ends: dict[int, int] = {}
    yield Wait("open the stores")
    for number in partitions:
        worker.stores[number] = worker.disk.open(number)
    if worker.rules.offsets_before_end:
        yield from _fetch_offsets(worker, partitions, committed, over)
        yield from _fetch_ends(worker, partitions, ends)
    else:
        yield from _fetch_ends(worker, partitions, ends)
        yield from _fetch_offsets(worker, partitions, committed, over)
    yield from _read_changelogs(worker, ends, over)
    yield Wait("adopt the epoch")
    if not over():
        lost = find_lost(committed, {}, [number for number in partitions if worker.stores[number].values])
        if lost:
            # A real process refuses to continue; no fault of this model may cause it.
            raise OffsetOutOfRangeError(str(lost))
        starts = {where: one.offset or 0 for where, one in committed.items()}
        worker.adopt(epoch, starts)
        yield from worker.delivery.resume(starts)


def _fetch_offsets(
    worker: "Worker", partitions: Partitions, committed: Offsets, over: Callable[[], bool]
) -> Steps:
    group, inputs = worker.broker.group, inputs_of(partitions)
    stable = worker.rules.stable_offsets
    yield Wait("fetch the offsets", lambda: over() or not stable or group.is_stable(inputs))
    committed.update({where: Committed(group.offsets.get(where)) for where in inputs})


def _fetch_ends(worker: "Worker", partitions: Partitions, ends: dict[int, int]) -> Steps:
    yield Wait("fetch the changelog's end")
    ends.update({number: worker.broker.logs[TopicPartition(CHANGELOG, number)].high for number in partitions})


def _read_changelogs(worker: "Worker", ends: dict[int, int], over: Callable[[], bool]) -> Steps:
    rules = worker.rules
    logs = {number: worker.broker.logs[TopicPartition(CHANGELOG, number)] for number in ends}
    reached = {number: worker.stores[number].position for number in ends}
    waiting = [number for number, end in ends.items() if reached[number] < end]

    def readable() -> list[int]:
        return [
            number
            for number in waiting
            if not rules.read_to_end
            or reached[number] < (logs[number].stable if rules.committed_changelog else logs[number].high)
        ]

    while waiting:
        pick = yield Wait("read the changelog", lambda: over() or bool(readable()))
        if over():
            return
        choice = readable()
        number = choice[pick % len(choice)]
        log, store = logs[number], worker.stores[number]
        limit = 1 + pick // len(choice) % 3
        records, reached[number] = log.read(reached[number], limit, committed=rules.committed_changelog)
        store.values.update({record.key: record.value for record in records})
        store.position = reached[number]
        at_end = reached[number] >= (log.stable if rules.committed_changelog else log.high)
        if at_end and (reached[number] >= ends[number] or not rules.read_to_end):
            waiting.remove(number)
