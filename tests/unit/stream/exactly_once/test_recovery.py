"""Recovery continues from a store's position, or rebuilds a store that cannot be trusted."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from clients.ranges import StalledError
from stream.exactly_once.kafka import recovery
from stream.exactly_once.kafka.offsets import Cancelled
from stream.exactly_once.kafka.recovery import Changelog, _begin, _confirm, _read_changelogs
from stream.exactly_once.kafka.store import Change, PartitionStore, Position
from stream.exactly_once.units.progress import RecoveryProgress, Restored
from stream.exactly_once.units.records import TopicPartition
from tests.support.scripted_consumer import END, Message, ScriptedConsumer

HOUR_MS = 3_600_000
USERS = Changelog("users", "app-users-changelog", "id-1", 24 * HOUR_MS)
ITEMS = Changelog("items", "app-items-changelog", "id-2", 24 * HOUR_MS)


class FakeStore:
    """A store in memory."""

    path = "partition-00000"

    def __init__(self, **positions: Position) -> None:
        self.positions = dict(positions)
        self.values: dict[tuple[str, bytes], bytes] = {}
        self.wiped = 0

    def position(self, table: str) -> Position | None:
        return self.positions.get(table)

    def wipe(self) -> None:
        self.wiped += 1
        self.positions.clear()
        self.values.clear()

    def write(self, changes: list[Change], positions: dict[str, Position]) -> None:
        for table, key, value in changes:
            if value is None:
                self.values.pop((table, key), None)
            else:
                self.values[table, key] = value
        self.positions |= positions

    def as_store(self) -> PartitionStore:
        return cast("PartitionStore", self)


def written(next_offset: int, *, topic_id: str = "id-1", hours_ago: float = 0.0) -> Position:
    return Position(topic_id, next_offset, int(time.time() * 1000 - hours_ago * HOUR_MS))


def begin(changelog: Changelog, store: FakeStore, *, low: int, high: int) -> int:
    """Return the offset at which recovery begins. low, high: the changelog's watermarks."""
    return _begin(changelog, store.as_store(), (low, high))


def test_a_new_store_reads_the_whole_changelog() -> None:
    store = FakeStore()
    assert begin(USERS, store, low=5, high=90) == 5
    assert not store.wiped


@pytest.mark.parametrize(
    "position",
    [
        written(40),
        written(90),
        written(40, hours_ago=23),
        written(90, hours_ago=48),
        written(89, hours_ago=48),  # only a transaction marker follows
    ],
)
def test_a_store_continues_from_its_position(position: Position) -> None:
    store = FakeStore(users=position)
    assert begin(USERS, store, low=0, high=90) == position.next_offset
    assert not store.wiped


def test_offsets_removed_from_the_changelog_are_skipped() -> None:
    assert begin(USERS, FakeStore(users=written(3)), low=5, high=90) == 5


@pytest.mark.parametrize(
    ("position", "why"),
    [
        (written(40, topic_id="id-0"), "recreated"),
        (written(91), "past the changelog's end 90"),
        (written(40, hours_ago=25), r"delete\.retention\.ms"),
        (written(88, hours_ago=25), r"delete\.retention\.ms"),  # a marker and one more offset follow
    ],
)
def test_an_untrusted_store_is_rebuilt(
    position: Position, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = FakeStore(users=position)
    assert begin(USERS, store, low=5, high=90) == 5
    assert store.wiped == 1
    assert why.replace("\\", "") in caplog.text


# --- reading ----------------------------------------------------------------------------------------------


USERS_0 = TopicPartition(USERS.topic, 0)
USERS_1 = TopicPartition(USERS.topic, 1)
ITEMS_0 = TopicPartition(ITEMS.topic, 0)


def read(
    consumer: ScriptedConsumer,
    stores: dict[int, FakeStore],
    watermarks: dict[TopicPartition, tuple[int, int]],
    cancelled: Any = lambda: False,
    progress: RecoveryProgress | None = None,
) -> int:
    opened = {number: store.as_store() for number, store in stores.items()}
    progress = progress or RecoveryProgress()
    _read_changelogs(cast("Consumer", consumer), [USERS, ITEMS], opened, watermarks, cancelled, progress)
    return progress.records


def test_records_are_applied_until_each_partition_reaches_its_end() -> None:
    stores = {0: FakeStore(), 1: FakeStore(users=written(2))}
    stores[1].values["users", b"bob"] = b"old"
    consumer = ScriptedConsumer(
        [Message(USERS_0, 0, b"ann", b"1"), Message(USERS_1, 3, b"bob"), Message(USERS_0, 1, b"ann", b"2")],
        [Message(USERS_0, 2, code=END)],  # an end before the watermark: more records follow
        [Message(USERS_0, 5, b"cem", b"3"), Message(USERS_1, 5, code=END)],
        [Message(USERS_0, 9, code=KafkaError._TRANSPORT)],  # transient
        [Message(USERS_0, 7, code=END)],  # past a transaction's marker, which no consumer delivers
    )
    assert read(consumer, stores, {USERS_0: (0, 7), USERS_1: (0, 5)}) == 4
    assert consumer.assigned == {USERS_0: 0, USERS_1: 2}
    assert stores[0].values == {("users", b"ann"): b"2", ("users", b"cem"): b"3"}
    assert stores[1].values == {}
    assert {number: store.positions["users"].next_offset for number, store in stores.items()} == {0: 7, 1: 5}
    assert stores[0].positions["users"].topic_id == "id-1"


def test_a_failed_leader_lookup_does_not_end_the_recovery() -> None:
    class WithoutLeaderLookup(ScriptedConsumer):
        def list_topics(self, topic: str, timeout: float) -> None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    consumer = WithoutLeaderLookup(
        [Message(USERS_0, 0, code=KafkaError.NOT_LEADER_FOR_PARTITION)], [Message(USERS_0, 7, code=END)]
    )
    read(consumer, {0: FakeStore(users=written(2))}, {USERS_0: (0, 7)})
    assert consumer.assigned == {USERS_0: 2}


def test_a_store_at_the_end_reads_nothing() -> None:
    consumer = ScriptedConsumer()
    assert read(consumer, {0: FakeStore(users=written(7))}, {USERS_0: (0, 7)}) == 0
    assert not consumer.assigned


def test_a_rebuilt_store_rereads_every_table() -> None:
    store = FakeStore(users=written(4), items=written(50, topic_id="id-old"))
    consumer = ScriptedConsumer([Message(USERS_0, 7, code=END), Message(ITEMS_0, 3, code=END)])
    read(consumer, {0: store}, {USERS_0: (0, 7), ITEMS_0: (0, 3)})
    assert consumer.assigned == {USERS_0: 0, ITEMS_0: 0}
    assert store.wiped == 1


def test_each_poll_with_new_offsets_reports_progress() -> None:
    reports: list[dict[int, Restored]] = []
    progress = RecoveryProgress(lambda: reports.append(dict(progress.partitions)))
    consumer = ScriptedConsumer(
        [Message(USERS_0, 0, b"ann", b"1"), Message(USERS_0, 1, b"bob", b"2")],
        [],
        [Message(USERS_0, 7, code=END)],
    )
    read(consumer, {0: FakeStore()}, {USERS_0: (0, 7)}, progress=progress)
    assert reports == [{0: Restored(records=2, to_go=5)}, {0: Restored(records=2, to_go=0)}]


@pytest.mark.parametrize(
    "store", [FakeStore(), FakeStore(users=Position("id-1", next_offset=1, written_at_ms=0))]
)
def test_an_interrupted_restore_keeps_the_age_of_its_beginning(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tombstone for an early record can expire while later records are read."""
    hours = 0.0
    clock = SimpleNamespace(time=lambda: hours * HOUR_MS / 1000)
    monkeypatch.setattr(recovery, "time", clock)
    consumer = ScriptedConsumer([Message(USERS_0, 1, b"ann", b"1")], [Message(USERS_0, 2, b"bob", b"2")])

    def cancelled() -> bool:
        nonlocal hours
        hours += 11
        return not consumer.polls

    with pytest.raises(Cancelled):
        read(consumer, {0: store}, {USERS_0: (0, 90)}, cancelled)
    assert store.positions["users"].next_offset == 3
    hours = 25
    assert begin(USERS, store, low=0, high=90) == 0
    assert store.wiped == 1


@pytest.mark.parametrize(("hours", "logged"), [(23, ""), (25, USERS.topic)])
def test_a_recovery_longer_than_the_tombstone_retention_is_logged(
    hours: float, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked_at_ms = int(time.time() * 1000 - hours * HOUR_MS)
    _confirm([USERS], {0: FakeStore(users=written(90)).as_store()}, asked_at_ms)
    assert logged in caplog.text
    assert bool(caplog.text) == bool(logged)


def test_a_stalled_client_is_replaced_and_reading_continues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery, "_NEW_CLIENT_AFTER_S", 0.0)
    progress = RecoveryProgress()
    store = FakeStore()
    with pytest.raises(StalledError) as raised:
        read(
            ScriptedConsumer([Message(USERS_0, 1, b"ann", b"1")]),
            {0: store},
            {USERS_0: (0, 7)},
            progress=progress,
        )
    assert raised.value.waiting == [USERS_0]
    following = ScriptedConsumer([Message(USERS_0, 7, code=END)])
    assert read(following, {0: store}, {USERS_0: (0, 7)}, progress=progress) == 1
    assert following.assigned == {USERS_0: 2}


class MuteConsumer(ScriptedConsumer):
    """A consumer that has lost its brokers and gives no answer."""

    def get_watermark_offsets(self, partition: Any, timeout: float) -> Any:
        raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))


def test_an_unresponsive_client_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_CALL_TIMEOUT_S", 0.0)
    given_up = time.monotonic() + 5
    mute = cast("Consumer", MuteConsumer())
    assert recovery._stable_ends(mute, [USERS_0], lambda: time.monotonic() > given_up) == {}
    with pytest.raises(Cancelled):
        recovery._stable_ends(mute, [USERS_0], lambda: True)


def test_each_round_fetches_the_ends_with_a_new_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ScriptedConsumer] = []

    def reader(*_args: Any, **extra: Any) -> ScriptedConsumer:
        polls = [[Message(USERS_0, 7, code=END)]] if len(made) == 3 else []
        made.append(ScriptedConsumer(*polls, end=7))
        return made[-1]

    monkeypatch.setattr(recovery, "reader", reader)
    monkeypatch.setattr(recovery, "_NEW_CLIENT_AFTER_S", 0.0)
    plan = cast("Any", SimpleNamespace(client_config={}, group_id="g", changelogs=[USERS]))
    progress = RecoveryProgress()
    assert recovery._restore(plan, {0: FakeStore().as_store()}, lambda: False, progress) == 0
    assert [one.closed for one in made] == [True] * 4


def test_reading_ends_with_the_epoch() -> None:
    with pytest.raises(Cancelled):
        read(ScriptedConsumer(), {0: FakeStore()}, {USERS_0: (0, 7)}, lambda: True)


def test_a_permanent_failure_is_raised() -> None:
    consumer = ScriptedConsumer([Message(USERS_0, 0, code=KafkaError.TOPIC_AUTHORIZATION_FAILED)])
    with pytest.raises(KafkaException):
        read(consumer, {0: FakeStore()}, {USERS_0: (0, 7)})
