"""Nothing breaks while all rules of the protocol are kept; take one away, and something does."""

from dataclasses import fields

import pytest

from stream.exactly_once.units.records import TopicPartition
from tests.protocol.audit import AuditError
from tests.protocol.cluster import WORKERS, Cluster
from tests.protocol.machine import PLACES
from tests.protocol.rules import Rules
from tests.protocol.running import run_model
from tests.protocol.topics import EVENTS

# Removed: in how many examples at most it must be found, and where in a commit a worker is stopped (all places if
# empty). The bound is some three times of what it took at worst in five random runs.
FOUND_IN: dict[str, tuple[int, tuple[str, ...]]] = {
    "layers": (20, ()),
    "drop_later_units": (250, ()),
    "frozen_epoch": (150, ()),
    "offsets_in_every_unit": (20, ()),
    "one_transaction": (50, ()),
    "repeat_commit": (50, ()),
    "rejoin_when_ended": (50, ()),
    "write_after_commit": (50, ()),
    "stable_offsets": (150, ()),
    "offsets_before_end": (700, ("produce to output", "produce to changelog")),
    "read_to_end": (400, ("hear of the commit", "write to RocksDB")),
    "committed_changelog": (80, ()),
    "drop_below_base": (450, ()),
    "markers_wait_for_leader": (50, ()),
}


def test_nothing_is_lost_or_doubled_whatever_happens_between_two_steps() -> None:
    played = run_model(examples=200, steps=20, same_each_time=True)
    if played.broken is not None:
        raise played.broken
    # And it was really tried: each place where something can happen was passed often.
    assert {place: played.steps[place] for place in PLACES if played.steps[place] < 100} == {}
    assert played.steps["abort"] > 50


@pytest.mark.parametrize("rule", FOUND_IN)
def test_without_one_rule_something_is_lost_or_doubled(rule: str) -> None:
    examples, places = FOUND_IN[rule]
    played = run_model(examples, 20, Rules().without(rule), same_each_time=True, places=places)
    assert played.broken is not None, f"not found in {played.examples} examples"


def test_a_fetch_of_before_the_seek_skips_records_if_it_is_delivered() -> None:
    """Too rare for chance: a worker that had no partition gets one, and asks twice before Faust pauses it."""
    with pytest.raises(AuditError, match="which has no output"):
        play_two_early_fetches(Rules().without("fetched_after_seek"))
    play_two_early_fetches(Rules())


def test_every_rule_has_its_test() -> None:
    assert {*FOUND_IN, "fetched_after_seek"} == {field.name for field in fields(Rules)}


def play_two_early_fetches(rules: Rules) -> None:
    cluster = Cluster(rules)
    for name in WORKERS:
        cluster.start(name)
    cluster.run_until_idle()
    idle, *others = sorted(WORKERS, key=lambda name: len(cluster.workers[name].delivery.assigned))
    for name in others:
        cluster.crash(name)
        cluster.expire(name)
    for _ in range(6):  # a revocation of nothing, which leaves Faust's flow as it is, and the next assignment
        cluster.make(idle, "group")
    where = TopicPartition(EVENTS, cluster.workers[idle].delivery.assigned[0])
    cluster.produce(where, b"ann", b"x", None)
    for _ in range(4):  # ask, get the first record, skip it since the epoch has not begun, ask again
        cluster.make(idle, "fetch")
    cluster.produce(where, b"ann", b"x", None)
    cluster.make(idle, "group")  # only now Faust pauses the partition
    while not cluster.workers[idle].at("seek"):
        cluster.make(idle, "recovery")
    for _ in range(2):  # the second record comes, and is delivered where the first one is expected
        cluster.make(idle, "fetch")
    cluster.come_to_rest()
