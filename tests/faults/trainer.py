"""A trainer killed at each step of a request."""

import signal
import time

from tests.faults.audit import Audit
from tests.faults.case import case
from tests.faults.process import context
from tests.faults.stage import Stage
from tests.integration.killed_trainer import STEPS
from tests.integration.training import Training
from trainer.request import PROMOTED, PUBLISHED


@case("trainer killed at each of its five steps")
def killed_at_each_step(stage: Stage) -> Audit:
    training = Training(stage.topics, stage.registry, stage.folder)
    try:
        return _kill_and_audit(stage, training)
    finally:
        training.trainer.kill()


def _kill_and_audit(stage: Stage, training: Training) -> Audit:
    request = training.hand_over(liked="watch heat crime", disliked="watch gigli comedy")
    for step in STEPS:
        versions, promotions, _offset = training.end_at(step, context())
        assert versions <= 2
        assert promotions <= 2
    began = time.monotonic()
    training.trainer.start(("-m", "sway", "trainer"))
    training.wait_until_committed(1)
    stage.recoveries_s.append(time.monotonic() - began)
    training.trainer.process.send_signal(signal.SIGTERM)
    assert training.trainer.wait(10) == 0
    (version,) = training.audit([request])
    assert set(training.announced()) == {(version, PUBLISHED), (version, PROMOTED)}
    promoted = sum(promotion.version == version for _, promotion in training.registry.history())
    stage.notes["counts"] = "training requests and promotions"
    return Audit(events=1, scores=promoted, dead_letters=0, lost=int(not promoted), duplicates=promoted - 1)
