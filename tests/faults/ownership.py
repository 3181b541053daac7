"""Two workers that compete for one state folder, or for the leadership."""

import signal
import time

from tests.faults.case import case
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for
from tests.integration.handovers import audit, requests

_MIN_EXAMPLES = 50


@case("two workers given the same state folder")
def same_state_folder(stage: Stage) -> None:
    (worker,) = stage.create_topics().start("a")
    stage.feed()
    stage.wait_for_more(200)
    began = time.monotonic()
    second = stage.worker("b", SWAY_STATE_DIR=worker.state)
    second.start(SWAY_STATE_DIR=worker.state)
    assert second.wait(60) == 1
    assert "is in use by another worker" in second.log_text().splitlines()[-1]
    stage.wait_until_caught_up(began)
    second.state = stage.folder / "none"


@case("two leaders: the old one was stopped, and wakes")
def two_leaders(stage: Stage) -> None:
    workers = stage.create_topics().start("a", "b", SWAY_HANDOVER__MIN_EXAMPLES=_MIN_EXAMPLES)
    stage.feed()
    wait_for(
        lambda: any(worker.metric("sway_handovers_total") >= 1 for worker in workers),
        "a request",
        timeout_s=60,
    )
    leader = next(worker for worker in workers if worker.metric("sway_handover_leader"))
    other = next(worker for worker in workers if worker is not leader)
    began = time.monotonic()
    leader.process.send_signal(signal.SIGSTOP)
    stage.wait_until_caught_up(began)
    wait_for(lambda: other.metric("sway_handovers_total") >= 1, "a request of the new leader", timeout_s=60)
    made = len(requests(stage.topics))
    leader.process.send_signal(signal.SIGCONT)
    wait_for(
        lambda: len(requests(stage.topics)) >= made + 2,
        "requests after the old leader has woken",
        timeout_s=60,
    )
    stage.stop_feeding()
    wait_for(lambda: stage.answers.read() >= stage.due(), "an answer to each event", timeout_s=60)
    # Fewer examples than a request needs may be left.
    stage.notes["requests"] = str(len(requests(stage.topics)))
    audit(stage.topics, partitions=stage.partitions, left_at_most=_MIN_EXAMPLES)
