"""Restores partition stores from their changelogs in bulk, before records are delivered.

The order of steps matters: first read the stable start offsets, so no transaction with offsets is open; then the
changelog's high watermark, which covers every commit behind those offsets; then read as read_committed up to an end of
partition at or past that watermark. (A changelog ends with a transaction marker, which is never delivered to a
consumer, so waiting for a record would not end.)
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confluent_kafka import Message

from clients.consumers import reader
from clients.ranges import StalledError, read_ranges
from stream.exactly_once.kafka.offsets import (
    Cancelled,
    OffsetPolicy,
    start_offsets,
    wait_for_stable_offsets,
    watermarks,
)
from stream.exactly_once.kafka.store import Change, PartitionStore, Position
from stream.exactly_once.units.errors import StateLostError
from stream.exactly_once.units.progress import RecoveryProgress
from stream.exactly_once.units.records import TopicPartition
from stream.exactly_once.units.topic_ids import Committed, find_lost, find_recreated

if TYPE_CHECKING:
    from confluent_kafka import Consumer

logger = logging.getLogger(__name__)

_POLL_S = 0.05  # consume() waits this long unless its batch is full
_CALL_TIMEOUT_S = 10.0
_POLL_RECORDS = 5_000
_NEW_CLIENT_AFTER_S = 15.0  # without a record or an advancing end offset


@dataclass(frozen=True)
class Changelog:
    """A table's changelog topic, its topic id, and its delete.retention.ms."""

    table: str
    topic: str
    topic_id: str
    delete_retention_ms: int


@dataclass(frozen=True)
class Recovered:
    """The result of a recovery.

    starts: start offset of each input partition. records, seconds: of reading the changelogs. resets, lost_records: see
    offsets.Starts. starts_changed: the start offsets differ from the committed ones and must be committed before
    anything is read.
    """

    starts: dict[TopicPartition, int]
    records: int
    seconds: float
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    resets: int = 0
    lost_records: int = 0
    starts_changed: bool = False


@dataclass(frozen=True)
class RecoveryPlan:
    """The inputs and changelogs of a worker; only the assigned partitions differ between epochs.

    topic_ids: requests the ids of the input and changelog topics from the brokers.
    """

    client_config: Mapping[str, str]
    group_id: str
    input_topics: Sequence[str]
    changelogs: Sequence[Changelog]
    offsets: OffsetPolicy
    topic_ids: Callable[[Callable[[], bool]], Mapping[str, str]]


def recover(
    plan: RecoveryPlan,
    stores: Mapping[int, PartitionStore],
    cancelled: Callable[[], bool],
    progress: RecoveryProgress,
) -> Recovered:
    """Restore the stores and return the start offsets of their input partitions.

    progress: updated while the changelogs are read.
    Blocks: run it on its own thread. Raises Cancelled when the epoch ends meanwhile, OffsetOutOfRangeError when a
    committed offset cannot be used, StateLostError when a changelog was recreated since the group's last commit,
    StoreError.
    """
    began = time.monotonic()
    inputs = [TopicPartition(topic, number) for number in sorted(stores) for topic in plan.input_topics]
    if not inputs:
        return Recovered({}, 0, 0.0)
    uncommitted = reader(plan.client_config, plan.group_id, **{"isolation.level": "read_uncommitted"})
    try:
        committed = wait_for_stable_offsets(lambda: _connect(plan), uncommitted, inputs, cancelled)
        topic_ids = plan.topic_ids(cancelled)
        state_lost = _check_changelogs(plan, committed, topic_ids)
        records = _restore(plan, stores, cancelled, progress)
        with_state = [number for number, store in stores.items() if _has_state(store, plan.changelogs)]
        starts = start_offsets(
            uncommitted,
            {tp: one.offset for tp, one in committed.items()},
            plan.offsets,
            cancelled,
            find_lost(committed, topic_ids, with_state),
        )
    finally:
        uncommitted.close()
    seconds = time.monotonic() - began
    decided = {tp: one.offset for tp, one in committed.items()} == starts.offsets
    return Recovered(
        starts.offsets,
        records,
        seconds,
        topic_ids,
        starts.resets,
        starts.lost_records,
        state_lost or not decided,
    )


def _check_changelogs(
    plan: RecoveryPlan, committed: Mapping[TopicPartition, Committed], topic_ids: Mapping[str, str]
) -> bool:
    """Check the changelogs before a store is changed, because a local store may be the only remaining copy.

    Returns whether recovery continues although state was lost.
    """
    topics = [changelog.topic for changelog in plan.changelogs]
    recreated = find_recreated(committed, topics, topic_ids)
    if not recreated:
        return False
    if plan.offsets.lost == "error":
        raise StateLostError(
            f"These changelogs were deleted and recreated since the group's last commit: {', '.join(recreated)}. "
            "Their contents are lost. Read the inputs again with a new app_id, or set lost_offset_reset to earliest "
            "or latest to continue without that state."
        )
    logger.error("Continuing without the state that was in %s: topics recreated", ", ".join(recreated))
    return True


def _has_state(store: PartitionStore, changelogs: Sequence[Changelog]) -> bool:
    return any(next(store.items(changelog.table), None) is not None for changelog in changelogs)


def _connect(plan: RecoveryPlan) -> "Consumer":
    return reader(plan.client_config, plan.group_id, **{"fetch.wait.max.ms": 20})


def _restore(
    plan: RecoveryPlan,
    stores: Mapping[int, PartitionStore],
    cancelled: Callable[[], bool],
    progress: RecoveryProgress,
) -> int:
    """Restore every store up to the end of its changelogs and return the number of records read.

    After _NEW_CLIENT_AFTER_S without progress, new clients request the end offsets again and continue.
    """
    tps = [TopicPartition(changelog.topic, number) for changelog in plan.changelogs for number in stores]
    before = progress.records
    while True:
        asked_at_ms = _now_ms()
        ends = _ends(plan, tps, cancelled)
        consumer = _connect(plan)
        try:
            _read_changelogs(consumer, plan.changelogs, stores, ends, cancelled, progress)
        except StalledError as exc:
            waiting = [TopicPartition(*where) for where in exc.waiting]
            stable = _stable_ends(consumer, waiting, cancelled)
            logger.warning(
                "Nothing read from the changelogs for %g s; continuing with a new client. Waiting for: %s",
                _NEW_CLIENT_AFTER_S,
                "; ".join(
                    f"{tp.topic}[{tp.partition}], end {ends[tp][1]}, {_stable_end_text(stable.get(tp), ends[tp][1])}"
                    for tp in waiting
                ),
            )
        else:
            _confirm(plan.changelogs, stores, asked_at_ms)
            return progress.records - before
        finally:
            consumer.close()


def _ends(
    plan: RecoveryPlan, tps: Sequence[TopicPartition], cancelled: Callable[[], bool]
) -> dict[TopicPartition, tuple[int, int]]:
    # A read_committed client would return the last stable offset, which precedes records of an open transaction.
    uncommitted = reader(plan.client_config, plan.group_id, **{"isolation.level": "read_uncommitted"})
    try:
        return {tp: watermarks(uncommitted, tp, cancelled) for tp in tps}
    finally:
        uncommitted.close()


def _stable_ends(
    consumer: "Consumer", tps: Sequence[TopicPartition], cancelled: Callable[[], bool]
) -> dict[TopicPartition, int]:
    """Return the last stable offsets, for logging; empty if the client does not answer within _CALL_TIMEOUT_S."""
    until = time.monotonic() + _CALL_TIMEOUT_S
    try:
        return {
            tp: watermarks(consumer, tp, lambda: cancelled() or time.monotonic() > until)[1] for tp in tps
        }
    except Cancelled:
        if cancelled():
            raise
        return {}


def _stable_end_text(stable: int | None, end: int) -> str:
    if stable is None:
        return "last stable offset unknown: the client does not answer"
    return f"last stable offset {stable}" + (" (a transaction is open)" if stable < end else "")


def _read_changelogs(
    consumer: "Consumer",
    changelogs: Sequence[Changelog],
    stores: Mapping[int, PartitionStore],
    ends: Mapping[TopicPartition, tuple[int, int]],
    cancelled: Callable[[], bool],
    progress: RecoveryProgress,
) -> None:
    """Read the changelogs into the stores.

    Raises Cancelled, or StalledError after _NEW_CLIENT_AFTER_S without progress; records read so far stay written.
    """

    def check() -> None:
        if cancelled():
            raise Cancelled

    by_topic = {changelog.topic: changelog for changelog in changelogs}
    begin, complete_at_ms = _begins(by_topic, stores, ends)
    progress.begin(begin, {tp: high for tp, (_low, high) in ends.items()})
    polls = read_ranges(
        consumer,
        {tp: (begin[tp], high) for tp, (_low, high) in ends.items()},
        timeout_s=_NEW_CLIENT_AFTER_S,
        max_records=_POLL_RECORDS,
        poll_s=_POLL_S,
        check=check,
    )
    for polled in polls:
        changes: dict[int, list[Change]] = {}
        for message in polled.records:
            change = _change(by_topic[message.topic() or ""].table, message)
            changes.setdefault(message.partition() or 0, []).append(change)
        reached = {TopicPartition(*where): offset for where, offset in polled.reached.items()}
        _write(by_topic, stores, changes, reached, complete_at_ms)
        progress.advance(changes, reached)


def _begins(
    by_topic: Mapping[str, Changelog],
    stores: Mapping[int, PartitionStore],
    ends: Mapping[TopicPartition, tuple[int, int]],
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Return the start offset of each changelog and when its store was last known to be complete, in epoch ms."""
    begin = {tp: _begin(by_topic[tp.topic], stores[tp.partition], end) for tp, end in ends.items()}
    complete_at_ms = dict.fromkeys(ends, _now_ms())
    # A wiped store starts over in every table, including tables checked before the wipe.
    for tp, (low, _high) in ends.items():
        position = stores[tp.partition].position(by_topic[tp.topic].table)
        if position is None:
            begin[tp] = low
        else:
            complete_at_ms[tp] = position.written_at_ms
    return begin, complete_at_ms


def _begin(changelog: Changelog, store: PartitionStore, end: tuple[int, int]) -> int:
    low, high = end
    position = store.position(changelog.table)
    if position is None:
        return low
    age_ms = _now_ms() - position.written_at_ms
    # A commit's position is after its last record; only the transaction marker follows.
    may_lack_records = high > position.next_offset + 1
    reason = None
    if position.topic_id != changelog.topic_id:
        reason = "the changelog topic was recreated"
    elif position.next_offset > high:
        reason = f"its offset {position.next_offset} is past the changelog's end {high}"
    elif age_ms > changelog.delete_retention_ms and may_lack_records:
        reason = "it is older than the changelog's delete.retention.ms, so tombstones may be gone"
    if reason is None:
        return max(position.next_offset, low)
    logger.warning("Rebuilding store %s from the start of the changelog: %s", store.path, reason)
    store.wipe()
    return low


def _change(table: str, message: Message) -> Change:
    return table, message.key() or b"", message.value()


def _write(
    by_topic: Mapping[str, Changelog],
    stores: Mapping[int, PartitionStore],
    changes: Mapping[int, list[Change]],
    reached: Mapping[TopicPartition, int],
    complete_at_ms: Mapping[TopicPartition, int],
) -> None:
    """Write changes and positions.

    complete_at_ms does not advance here: a tombstone of a key that was read may expire before the rest is read.
    """
    positions: dict[int, dict[str, Position]] = {}
    for tp, offset in reached.items():
        changelog = by_topic[tp.topic]
        position = Position(changelog.topic_id, offset, complete_at_ms[tp])
        positions.setdefault(tp.partition, {})[changelog.table] = position
    for partition, by_table in positions.items():
        stores[partition].write(changes.get(partition, ()), by_table)


def _confirm(changelogs: Sequence[Changelog], stores: Mapping[int, PartitionStore], asked_at_ms: int) -> None:
    """Record that every store contains all changelog records up to the end offsets requested at asked_at_ms."""
    for store in stores.values():
        known = {changelog.table: store.position(changelog.table) for changelog in changelogs}
        store.write(
            (),
            {
                table: Position(position.topic_id, position.next_offset, asked_at_ms)
                for table, position in known.items()
                if position is not None
            },
        )
    took_ms = _now_ms() - asked_at_ms
    if late := [changelog.topic for changelog in changelogs if took_ms > changelog.delete_retention_ms]:
        logger.error(
            "The recovery took %.0f s, longer than the delete.retention.ms of %s: the stores may contain values whose "
            "tombstones expired before they were read. Raise that setting, delete the state folder and restart",
            took_ms / 1000,
            ", ".join(late),
        )


def _now_ms() -> int:
    return int(time.time() * 1000)
