"""A trainer process on a real Kafka: each request leads to one promotion, wherever the process is killed."""

import shutil
import signal
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.integration.conftest import Topics, wait_for
from tests.integration.killed_trainer import HANGING, STEPS, STOPPED
from tests.integration.training import NO_OFFSET, Training
from trainer.request import PROMOTED, PUBLISHED

pytestmark = pytest.mark.faults

TRAINER = ("-m", "sway", "trainer")


@pytest.fixture
def training(topics: Topics, registry: Path, tmp_path: Path) -> Iterator[Training]:
    made = Training(topics, registry, tmp_path)
    yield made
    made.trainer.kill()
    print(made.trainer.log_text())  # noqa: T201


def test_a_trainer_killed_at_every_step_promotes_each_request_once(
    training: Training, processes: ForkServerContext
) -> None:
    first = training.hand_over(liked="watch heat crime", disliked="watch gigli comedy")
    seen = []
    read, training_under_way, *later = STEPS
    for step in (read, STOPPED, training_under_way, HANGING, *later):
        seen.append(training.end_at(step, processes))
        if step == "published":
            shutil.rmtree(training.work)  # the published version is enough to continue
    before, published, promoted = (1, 1, NO_OFFSET), (2, 1, NO_OFFSET), (2, 2, NO_OFFSET)
    assert seen == [before, before, before, before, published, promoted, promoted]

    training.trainer.start(TRAINER)
    training.wait_until_committed(1)
    (version,) = training.audit([first])
    assert set(training.announced()) == {(version, PUBLISHED), (version, PROMOTED)}

    announced_before = len(training.announced())
    second = training.hand_over(liked="watch jaws sea", disliked="watch casablanca war")
    training.wait_until_committed(2)
    training.trainer.process.send_signal(signal.SIGTERM)
    assert training.trainer.wait(5) == 0
    assert "Traceback" not in training.trainer.log_text()
    better = training.audit([first, second])[-1]
    assert training.announced()[announced_before:] == [(better, PUBLISHED), (better, PROMOTED)]


def test_a_standby_trainer_takes_over_when_the_first_dies(
    training: Training, processes: ForkServerContext, tmp_path: Path
) -> None:
    first = training.hand_over(liked="watch heat crime", disliked="watch gigli comedy")
    until = tmp_path / "until"
    working = training.hold(until, processes)
    second = training.second_trainer().start()
    try:
        second.wait_until_ready()
        assert second.metric("sway_trainer_owner") == 0
        until.touch()
        wait_for(lambda: training.committed() == 1, "commit of the first", timeout_s=60)
        assert training.trainer.metric('sway_trainer_requests_total{result="promoted"}') == 1
        assert training.trainer.metric("sway_trainer_owner") == 1
        assert "Request" not in second.log_text()  # it has not started the first one's request

        until.unlink()
        again = training.hand_over(liked="watch jaws sea", disliked="watch casablanca war")
        wait_for(
            lambda: training.trainer.metric('sway_trainer_phase{phase="fine_tuning"}') == 1,
            "training",
            timeout_s=60,
        )
        working.kill()
        working.join(30)
        shutil.rmtree(training.work)  # the second runs on another machine
        training.wait_until_committed(2, by=second)
        assert second.metric('sway_trainer_requests_total{result="promoted"}') == 1
        assert second.terminate() == 0
        training.audit([first, again])
    finally:
        working.kill()
        working.join(30)
        second.kill()
        print(second.log_text())  # noqa: T201
