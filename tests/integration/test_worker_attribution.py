"""A worker without outcomes labels events by later events of the user, and by the end of the horizon."""

import json
import time

from schemas.records import BehaviorEvent
from tests.integration.conftest import wait_for
from tests.integration.workers import Sway

MINUTE_MS = 60_000
BEGAN_MS = int(time.time() * 1000) - 60 * MINUTE_MS


def event(event_id: str, user_id: str, *, minute: int, action: str, item_id: str) -> BehaviorEvent:
    return BehaviorEvent(event_id, user_id, action, BEGAN_MS + minute * MINUTE_MS, item_id, f"lamp {item_id}")


def test_without_outcomes_later_events_and_the_horizon_label_events(sway: Sway) -> None:
    for short, partitions in (
        ("events", 1),
        ("scores", 1),
        ("examples", 1),
        ("dead-letters", 1),
        ("training", 1),
    ):
        sway.topics.create(short, partitions=partitions)  # without the topic of outcomes
    sway.partitions = 1
    worker = sway.worker(
        SWAY_LABELS__OUTCOMES="false",
        SWAY_LABELS__RULES=json.dumps([{"action": "view", "by": "purchase", "within_s": 300}]),
        SWAY_LABELS__WEIGHTS=json.dumps({"cart": 0.5, "purchase": 1.0}),
        SWAY_LABELS__NEGATIVE="0",
        SWAY_LABELS__HORIZON_S="600",
        SWAY_LABELS__GRACE_S="60",
    ).start()
    worker.wait_until_ready()
    for one in (
        event("bought", "ann", minute=0, action="view", item_id="i1"),
        event("left", "ann", minute=1, action="view", item_id="i2"),
        event("cart", "ann", minute=2, action="cart", item_id="i2"),
        event("purchase", "ann", minute=3, action="purchase", item_id="i1"),
        # These move stream time past the horizon of the others.
        event("later", "bob", minute=30, action="view", item_id="i1"),
        event("last", "ann", minute=31, action="view", item_id="i3"),
    ):
        sway.produce(one)
    sway.flush()
    sway.wait_for_answers(6)
    wait_for(lambda: worker.metric('sway_labels_total{source="expiry"}') == 3, "labels by the horizon")
    assert worker.terminate() == 0
    found = {one.event_id: (one.y, one.z, one.label_source) for one in sway.examples()}
    assert found == {
        "bought": (1.0, 1.0, "attribution"),
        "left": (0.0, 0.5, "expiry"),
        "cart": (0.0, 0.0, "expiry"),
        "purchase": (0.0, 0.0, "expiry"),
    }
    assert {score.outcomes_next for score in sway.scores()} == {0}
