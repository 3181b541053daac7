"""Labelled snapshots of a stream: what was known when each behaviour was scored, and its outcome."""

import numpy as np

from model.features.history import Past
from model.features.keys import item_key, text_key
from model.features.learning import learn, user_mean
from model.features.snapshot import Snapshot
from model.features.state import NO_ITEM, NO_MEAN, NO_TOTALS
from schemas.records import BehaviorEvent, Outcome
from trainer.snapshots import Labelled, Pair, StreamSettings, snapshots

MINUTE_MS = 60_000


def pair(user: str, item: str, *, minute: int, y: float, z: float | None = None) -> Pair:
    """Return a behaviour and its outcome."""
    at_ms = 10**12 + minute * MINUTE_MS
    event = BehaviorEvent(f"e{minute}", user, "watch", at_ms, item_id=item, item_text=f"text {item}")
    return event, Outcome(event.event_id, user, y=y, z=z, observed_at=at_ms)


PAIRS = [
    pair("u", "a", minute=0, y=1.0, z=0.75),
    pair("v", "a", minute=1, y=0.0),
    pair("u", "b", minute=2, y=1.0, z=1.0),
    pair("u", "a", minute=3, y=0.0, z=0.25),
]


def all_snapshots(settings: StreamSettings | None = None) -> list[Labelled]:
    return list(snapshots(PAIRS, lambda event: f"{event.action} {event.item_text}", settings))


def test_a_snapshot_holds_what_was_known_by_its_time() -> None:
    first, other = PAIRS[0], PAIRS[1]
    one = learn(
        Past(first[0].occurred_at, "a"), 1.0, 0.75,
        item=NO_ITEM, totals=NO_TOTALS.with_behaviour(first[0].occurred_at), mean=NO_MEAN,
        own_mean=user_mean(0, 0, 0.5),
    )  # fmt: skip
    two = learn(
        Past(other[0].occurred_at, "a"), 0.0, None,
        item=one.item, totals=NO_TOTALS, mean=one.mean, own_mean=user_mean(0, 0, one.mean.value),
    )  # fmt: skip
    last = all_snapshots()[3].snapshot
    assert all_snapshots()[2].snapshot.item == NO_ITEM
    assert all_snapshots()[2].snapshot.mu == two.mean.value
    assert all_snapshots()[2].snapshot.totals == one.totals
    assert last.item == two.item
    assert (last.item_key, last.text_key) == (item_key("a"), text_key("watch text a"))
    assert last.past["text"].tolist() == [text_key("watch text a"), text_key("watch text b")]
    assert last.past["item"].tolist() == [item_key("a"), item_key("b")]
    assert last.past["z"].tolist() == [0.75, 1.0]
    assert last.past["residual"][0] == np.float32(one.past.residual)


def test_a_later_outcome_changes_no_earlier_snapshot() -> None:
    late = all_snapshots(StreamSettings(delay_ms=2 * MINUTE_MS))
    # The outcome of minute 0 is known at minute 2.
    assert np.isnan(late[2].snapshot.past["residual"]).sum() == 0
    assert np.isnan(late[3].snapshot.past["residual"]).tolist() == [False, True]
    delayed = StreamSettings(delay_ms=2 * MINUTE_MS)
    at_once = [
        one.snapshot.encode() for one in snapshots(PAIRS, lambda event: f"watch {event.item_text}", delayed)
    ]
    assert [one.snapshot.encode() for one in late] == at_once
    assert [one.known_at_ms - one.snapshot.at_ms for one in late] == [2 * MINUTE_MS] * 4


def test_snapshots_round_trip_through_bytes() -> None:
    for one in all_snapshots():
        again = Snapshot.decode(one.snapshot.encode())
        assert again.past.tobytes() == one.snapshot.past.tobytes()
        assert (again.item, again.totals, again.mu) == (
            one.snapshot.item,
            one.snapshot.totals,
            one.snapshot.mu,
        )


def test_outcomes_of_dropped_behaviours_still_count() -> None:
    found = all_snapshots(StreamSettings(max_behaviours=1, delay_ms=3 * MINUTE_MS))[3].snapshot
    assert found.past["item"].tolist() == [item_key("b")]
    assert found.item.outcomes == 1
    assert found.totals.outcomes == 1


def test_each_snapshot_carries_its_label_user_and_item() -> None:
    found = all_snapshots()
    assert [(one.user_id, one.item_id, one.y, one.z) for one in found] == [
        ("u", "a", 1.0, 0.75),
        ("v", "a", 0.0, None),
        ("u", "b", 1.0, 1.0),
        ("u", "a", 0.0, 0.25),
    ]
