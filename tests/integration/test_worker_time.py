"""Labels fall due by a robust stream time: despite a clock that is a year ahead, and in idle partitions."""

import time

from schemas.records import BehaviorEvent
from tests.integration.conftest import wait_for
from tests.integration.workers import Sway

HORIZON_MS, GRACE_MS = 3000, 1000
YEAR_MS = 365 * 86_400_000
ANY_TIME = {"message.timestamp.after.max.ms": str(2**63 - 1)}


def test_labels_fall_due_despite_idle_partitions_and_wrong_clocks(sway: Sway) -> None:
    for short in ("scores", "examples", "dead-letters"):
        sway.topics.create(short, partitions=2)
    for short in ("events", "outcomes"):
        sway.topics.create(short, partitions=2, config=ANY_TIME)
    sway.topics.create("training")
    sway.partitions = 2
    worker = sway.worker(
        SWAY_LABELS__NEGATIVE="0",
        SWAY_LABELS__HORIZON_S=str(HORIZON_MS / 1000),
        SWAY_LABELS__GRACE_S=str(GRACE_MS / 1000),
    ).start()
    worker.wait_until_ready()
    users = [f"user{number}" for number in range(10)]
    began_ms = int(time.time() * 1000)
    for number in range(30):
        sway.produce(BehaviorEvent(f"e{number}", users[number % 10], "view", began_ms, "i1", "lamp"))
    for number in range(30):
        wrong_ms = began_ms + YEAR_MS + number * 1000
        sway.produce(
            BehaviorEvent(f"bad{number}", users[number % 2], "view", wrong_ms, "i1", "lamp"), at_ms=wrong_ms
        )
    sway.flush()
    sway.wait_for_answers(60)
    wait_for(
        lambda: worker.metric('sway_labels_total{source="expiry"}') == 60, "labels by ticks", timeout_s=60
    )
    assert worker.terminate() == 0
    ended_ms = int(time.time() * 1000)
    examples = [one for one in sway.examples() if one.event_id.startswith("e")]
    assert {one.event_id for one in examples} == {f"e{number}" for number in range(30)}
    assert all(began_ms + HORIZON_MS + GRACE_MS <= one.labeled_at <= ended_ms for one in examples)
    assert not sway.dead_letters()
