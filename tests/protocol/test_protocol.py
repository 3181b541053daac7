"""The guarantees hold with all rules of the protocol, and are violated without any one of them."""

from dataclasses import fields
from typing import NamedTuple

import pytest

from stream.exactly_once.units.records import TopicPartition
from tests.protocol.audit import AuditError
from tests.protocol.cluster import WORKERS, Cluster
from tests.protocol.machine import PLACES
from tests.protocol.rules import Rules
from tests.protocol.running import run_model
from tests.protocol.topics import EVENTS


class Search(NamedTuple):
    """How a missing rule is found. places: where in a commit a worker is paused; all places if empty."""

    max_examples: int
    places: tuple[str, ...] = ()


# Bounds are about three times the worst of five random runs.
SEARCHES: dict[str, Search] = {
    "layers": Search(20),
    "drop_later_units": Search(250),
    "frozen_epoch": Search(150),
    "offsets_in_every_unit": Search(20),
    "one_transaction": Search(50),
    "repeat_commit": Search(50),
    "rejoin_when_ended": Search(50),
    "write_after_commit": Search(50),
    "stable_offsets": Search(150),
    "offsets_before_end": Search(700, ("produce to output", "produce to changelog")),
    "read_to_end": Search(400, ("receive the commit result", "write to RocksDB")),
    "committed_changelog": Search(80),
    "drop_below_base": Search(450),
    "markers_wait_for_leader": Search(50),
}


def test_nothing_is_lost_or_duplicated_between_any_two_steps() -> None:
    played = run_model(examples=200, steps=20, same_each_time=True)
    if played.broken is not None:
        raise played.broken
    # Each place where a fault can happen was passed often.
    assert {place: played.steps[place] for place in PLACES if played.steps[place] < 100} == {}
    assert played.steps["abort"] > 50


@pytest.mark.parametrize("rule", SEARCHES)
def test_without_one_rule_something_is_lost_or_duplicated(rule: str) -> None:
    search = SEARCHES[rule]
    played = run_model(
        search.max_examples,
        steps=20,
        rules=Rules().without(rule),
        same_each_time=True,
        places=search.places,
    )
    assert played.broken is not None, f"not found in {played.examples} examples"


def test_delivering_a_fetch_from_before_the_seek_skips_records() -> None:
    """The case is too rare for a random search: an idle worker gets a partition, and fetches twice before its pause."""
    with pytest.raises(AuditError, match="which has no output"):
        play_two_early_fetches(Rules().without("fetched_after_seek"))
    play_two_early_fetches(Rules())


def test_every_rule_is_tested() -> None:
    assert {*SEARCHES, "fetched_after_seek"} == {field.name for field in fields(Rules)}


def play_two_early_fetches(rules: Rules) -> None:
    cluster = Cluster(rules)
    for name in WORKERS:
        cluster.start(name)
    cluster.run_until_idle()
    idle, *others = sorted(WORKERS, key=lambda name: len(cluster.workers[name].delivery.assigned))
    for name in others:
        cluster.crash(name)
        cluster.expire(name)
    # A revocation of no partition, which does not stop Faust's flow, and the next assignment.
    for _ in range(6):
        cluster.make(idle, "group")
    where = TopicPartition(EVENTS, cluster.workers[idle].delivery.assigned[0])
    cluster.produce(where, key=b"ann", value=b"x", fate=None)
    # Request, receive the first record, skip it since the epoch has not begun, request again.
    for _ in range(4):
        cluster.make(idle, "fetch")
    cluster.produce(where, key=b"ann", value=b"x", fate=None)
    cluster.make(idle, "group")  # Faust pauses the partition
    while not cluster.workers[idle].at("seek"):
        cluster.make(idle, "recovery")
    # The second record arrives, and is delivered where the first one is expected.
    for _ in range(2):
        cluster.make(idle, "fetch")
    cluster.end_faults_and_audit()
