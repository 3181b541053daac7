"""The fake broker behaves like a real one where the protocol depends on it."""

import pytest

from stream.exactly_once.units.records import Epoch, TopicPartition
from tests.protocol.broker import Broker, ProducerFencedError
from tests.protocol.group import Answer, Assignment, GroupMovedOnError

INPUT, OUTPUT = TopicPartition("events", 0), TopicPartition("output", 0)


@pytest.fixture
def broker() -> Broker:
    return Broker([INPUT, OUTPUT], partitions=1)


def start(broker: Broker, name: str) -> int:
    epoch = broker.init(name)
    assert epoch is not None
    return epoch


def write_markers(broker: Broker) -> None:
    while broker.deciding:
        broker.write_marker(broker.deciding[0], 0)


def values(broker: Broker) -> list[bytes]:
    return [record.value for record in broker.logs[OUTPUT].visible()]


def test_readers_stop_at_open_transactions_and_skip_aborted_records(broker: Broker) -> None:
    one, two = start(broker, "one"), start(broker, "two")
    broker.produce("one", one, OUTPUT, key=b"", value=b"aborted")
    broker.produce("two", two, OUTPUT, key=b"", value=b"kept")
    broker.end("two", two, commit=True)
    write_markers(broker)
    assert values(broker) == []
    broker.end("one", one, commit=False)
    write_markers(broker)
    assert values(broker) == [b"kept"]
    assert broker.logs[OUTPUT].high == 4  # with two markers


def test_a_decided_transaction_is_not_visible_before_its_marker(broker: Broker) -> None:
    epoch = start(broker, "one")
    broker.produce("one", epoch, OUTPUT, key=b"", value=b"kept")
    broker.end("one", epoch, commit=True)
    assert values(broker) == []
    assert broker.busy("one")
    write_markers(broker)
    assert values(broker) == [b"kept"]


def test_a_dropped_abort_marker_commits_aborted_records_later() -> None:
    """Kafka 4.3.0 to 4.4.0 behave so while a partition has no leader."""
    broker = Broker([INPUT, OUTPUT], partitions=1, markers_wait_for_leader=False)
    epoch, member = start(broker, "one"), broker.group.join("")
    broker.produce("one", epoch, OUTPUT, key=b"", value=b"aborted")
    broker.send_offsets("one", epoch, {INPUT: 1}, Epoch(1, member))
    broker.time_out("one")
    while broker.deciding:
        broker.write_marker(broker.deciding[0], 3)
    assert not broker.group.is_stable([INPUT])  # readers of stable offsets wait
    epoch = start(broker, "one")
    broker.produce("one", epoch, OUTPUT, key=b"", value=b"again")
    broker.end("one", epoch, commit=True)
    write_markers(broker)
    assert values(broker) == [b"aborted", b"again"]


def test_a_repeated_commit_changes_nothing_and_an_abort_fails(broker: Broker) -> None:
    epoch = start(broker, "one")
    broker.produce("one", epoch, OUTPUT, key=b"", value=b"kept")
    broker.end("one", epoch, commit=True)
    write_markers(broker)
    broker.end("one", epoch, commit=True)
    assert values(broker) == [b"kept"]
    with pytest.raises(ProducerFencedError):
        broker.end("one", epoch, commit=False)


def test_taking_over_a_transactional_id_aborts_its_open_transaction(broker: Broker) -> None:
    old = start(broker, "one")
    broker.produce("one", old, OUTPUT, key=b"", value=b"left open")
    assert broker.init("one") is None  # the open transaction must end first
    write_markers(broker)
    assert start(broker, "one") > old
    assert values(broker) == []
    with pytest.raises(ProducerFencedError):
        broker.produce("one", old, OUTPUT, key=b"", value=b"too late")


def test_offsets_are_unstable_until_the_groups_marker_is_written(broker: Broker) -> None:
    epoch, member = start(broker, "one"), broker.group.join("")
    broker.send_offsets("one", epoch, {INPUT: 5}, Epoch(1, member))
    assert not broker.group.is_stable([INPUT])
    broker.end("one", epoch, commit=True)
    assert (broker.group.offsets, broker.group.is_stable([INPUT])) == ({}, False)
    write_markers(broker)
    assert (broker.group.offsets, broker.group.is_stable([INPUT])) == ({INPUT: 5}, True)


def test_offsets_of_an_old_generation_are_refused(broker: Broker) -> None:
    epoch, member = start(broker, "one"), broker.group.join("")
    broker.group.rebalance()
    # The old generation is accepted until the next one is complete.
    broker.send_offsets("one", epoch, {INPUT: 1}, Epoch(1, member))
    broker.group.join(member)
    with pytest.raises(GroupMovedOnError):
        broker.send_offsets("one", epoch, {INPUT: 2}, Epoch(1, member))
    with pytest.raises(GroupMovedOnError):
        broker.send_offsets("one", epoch, {INPUT: 2}, Epoch(2, "unknown member"))
    # Without generation and member, offsets are not checked.
    broker.send_offsets("one", epoch, {INPUT: 2}, Epoch(-1, ""))


def test_a_rebalance_waits_for_all_members_or_times_out(broker: Broker) -> None:
    group = broker.group
    one = group.join("")
    two = group.join("")
    assert (group.joined(one), group.joined(two)) == (Answer.REJOIN, None)
    group.join(one)
    assert group.joined(one) == Assignment(2, (0,))
    group.rebalance()
    group.join(two)
    group.time_out_rebalance()
    assert group.joined(one) is Answer.UNKNOWN
    assert group.joined(two) == Assignment(3, (0,))
