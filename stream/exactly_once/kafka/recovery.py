"""Bring a partition's store up to its changelog, in bulk, before any of its records is delivered.

The order matters and is: the stable start offsets (no transaction with offsets is open any more); then the
changelog's high watermark, which covers every commit behind those offsets; then reading, as read_committed,
until an end of partition at or past that watermark. (The changelog ends in a transaction marker that no
consumer delivers, so waiting for a record would wait for ever.)
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
    patient_stable_offsets,
    start_offsets,
    watermarks,
)
from stream.exactly_once.kafka.store import Change, PartitionStore, Position
from stream.exactly_once.units.errors import StateLostError
from stream.exactly_once.units.progress import RecoveryProgress
from stream.exactly_once.units.records import TopicPartition
from stream.exactly_once.units.topic_ids import Committed, find_lost, find_made_again

if TYPE_CHECKING:
    from confluent_kafka import Consumer

logger = logging.getLogger(__name__)

_POLL_S = 0.05  # consume() waits this out unless it is full
_CALL_TIMEOUT_S = 10.0
_POLL_RECORDS = 5_000
_NEW_CLIENT_AFTER_S = 15.0  # without a record or an end that is further


@dataclass(frozen=True)
class Changelog:
    """A table's changelog: its topic, that topic's id, and how long the broker keeps its tombstones."""

    table: str
    topic: str
    topic_id: str
    delete_retention_ms: int


@dataclass(frozen=True)
class Recovered:
    """What an epoch starts from.

    records, seconds: of the changelogs. resets, lost_records: see offsets.Starts. undecided: a start was decided that
    is not what the group has committed, and must be committed before anything is read.
    """

    starts: dict[TopicPartition, int]
    records: int
    seconds: float
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    resets: int = 0
    lost_records: int = 0
    undecided: bool = False


@dataclass(frozen=True)
class RecoveryPlan:
    """What must be read, and from where; the same for every epoch of a worker but for its partitions.

    topic_ids: asks the brokers for the ids of the inputs and the changelogs.
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
    """Bring the stores up to date and return the start offsets of their input partitions.

    progress: is kept up to date while the changelogs are read.
    Blocks: run it on a thread of its own. Raises Cancelled when the epoch ended meanwhile, OffsetOutOfRangeError
    when the inputs cannot be read on from where the group is, StateLostError when a changelog is not the one
    that was written, StoreError.
    """
    began = time.monotonic()
    inputs = [TopicPartition(topic, number) for number in sorted(stores) for topic in plan.input_topics]
    if not inputs:
        return Recovered({}, 0, 0.0)
    uncommitted = reader(plan.client_config, plan.group_id, **{"isolation.level": "read_uncommitted"})
    try:
        committed = patient_stable_offsets(lambda: _connect(plan), uncommitted, inputs, cancelled)
        topic_ids = plan.topic_ids(cancelled)
        without_state = _check_changelogs(plan, committed, topic_ids)
        records = _restore(plan, stores, cancelled, progress)
        with_state = [number for number, store in stores.items() if _holds_anything(store, plan.changelogs)]
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
        without_state or not decided,
    )


def _check_changelogs(
    plan: RecoveryPlan, committed: Mapping[TopicPartition, Committed], topic_ids: Mapping[str, str]
) -> bool:
    """Look before a store is touched: a local copy may be all that is left of the state.

    Returns whether it goes on without state that was there.
    """
    topics = [changelog.topic for changelog in plan.changelogs]
    made_again = find_made_again(committed, topics, topic_ids)
    if not made_again:
        return False
    if plan.offsets.lost == "error":
        raise StateLostError(
            f"These changelogs were deleted and made again since the group's last commit: {', '.join(made_again)}. "
            "What they held is gone. Read the inputs again with a new app_id, or set lost_offset_reset to earliest "
            "or latest to go on without that state."
        )
    logger.error("Going on without the state that was in %s: made again", ", ".join(made_again))
    return True


def _holds_anything(store: PartitionStore, changelogs: Sequence[Changelog]) -> bool:
    return any(next(store.items(changelog.table), None) is not None for changelog in changelogs)


def _connect(plan: RecoveryPlan) -> "Consumer":
    return reader(plan.client_config, plan.group_id, **{"fetch.wait.max.ms": 20})


def _restore(
    plan: RecoveryPlan,
    stores: Mapping[int, PartitionStore],
    cancelled: Callable[[], bool],
    progress: RecoveryProgress,
) -> int:
    """Bring every store up to the end of its changelogs, and return how many records were read.

    Each time nothing is read for _NEW_CLIENT_AFTER_S new clients ask for the ends again and read on.
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
                "Nothing read from the changelogs for %g s; reading on with a new client. Waiting for: %s",
                _NEW_CLIENT_AFTER_S,
                "; ".join(
                    f"{tp.topic}[{tp.partition}], end {ends[tp][1]}, {_in_words(stable.get(tp), ends[tp][1])}"
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
    # A read_committed client would answer the last STABLE offset, short of an open transaction's records.
    uncommitted = reader(plan.client_config, plan.group_id, **{"isolation.level": "read_uncommitted"})
    try:
        return {tp: watermarks(uncommitted, tp, cancelled) for tp in tps}
    finally:
        uncommitted.close()


def _stable_ends(
    consumer: "Consumer", tps: Sequence[TopicPartition], cancelled: Callable[[], bool]
) -> dict[TopicPartition, int]:
    """Return the last stable offsets for the log; none if the client does not answer within _CALL_TIMEOUT_S."""
    until = time.monotonic() + _CALL_TIMEOUT_S
    try:
        return {
            tp: watermarks(consumer, tp, lambda: cancelled() or time.monotonic() > until)[1] for tp in tps
        }
    except Cancelled:
        if cancelled():
            raise
        return {}


def _in_words(stable: int | None, end: int) -> str:
    if stable is None:
        return "last stable offset not known: the client does not answer"
    return f"last stable offset {stable}" + (" (a transaction is open)" if stable < end else "")


def _read_changelogs(
    consumer: "Consumer",
    changelogs: Sequence[Changelog],
    stores: Mapping[int, PartitionStore],
    ends: Mapping[TopicPartition, tuple[int, int]],
    cancelled: Callable[[], bool],
    progress: RecoveryProgress,
) -> None:
    """Raises Cancelled, and StalledError when nothing came for _NEW_CLIENT_AFTER_S; what was read stays written."""

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
    """Return where each changelog is read from, and when its store was last known to be complete, in ms."""
    begin = {tp: _begin(by_topic[tp.topic], stores[tp.partition], end) for tp, end in ends.items()}
    complete_at_ms = dict.fromkeys(ends, _now_ms())
    # A wiped store starts over in every table, also in those that were asked before the wipe.
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
    # A commit's position is behind its last record; the marker of its transaction follows, and then the end.
    may_lack_records = high > position.next_offset + 1
    reason = None
    if position.topic_id != changelog.topic_id:
        reason = "the changelog topic was made again"
    elif position.next_offset > high:
        reason = f"it is at offset {position.next_offset}, past the changelog's end {high}"
    elif age_ms > changelog.delete_retention_ms and may_lack_records:
        reason = "it is older than the changelog's delete.retention.ms, so tombstones may be gone"
    if reason is None:
        return max(position.next_offset, low)
    logger.warning("Store %s is rebuilt from the start of the changelog: %s", store.path, reason)
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
    """complete_at_ms: stays what it was: a deletion of what was read may be gone before the rest is read."""
    positions: dict[int, dict[str, Position]] = {}
    for tp, offset in reached.items():
        changelog = by_topic[tp.topic]
        position = Position(changelog.topic_id, offset, complete_at_ms[tp])
        positions.setdefault(tp.partition, {})[changelog.table] = position
    for partition, by_table in positions.items():
        stores[partition].write(changes.get(partition, ()), by_table)


def _confirm(changelogs: Sequence[Changelog], stores: Mapping[int, PartitionStore], asked_at_ms: int) -> None:
    """Note that every store held all that its changelogs did when their ends were asked for."""
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
            "The recovery took %.0f s, longer than the delete.retention.ms of %s: the stores may hold values whose "
            "deletion was gone before it was read. Raise that setting, delete the state folder and start again",
            took_ms / 1000,
            ", ".join(late),
        )


def _now_ms() -> int:
    return int(time.time() * 1000)
