"""A trainer process on a real Kafka: a request comes to one promotion, whatever ends the process where."""

import shutil
import signal
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.integration.conftest import Topics
from tests.integration.killed_trainer import STEPS, STOPPED
from tests.integration.training import NO_OFFSET, Training
from trainer.request import PROMOTED, PUBLISHED

pytestmark = pytest.mark.faults


@pytest.fixture
def training(topics: Topics, registry: Path, tmp_path: Path) -> Iterator[Training]:
    made = Training(topics, registry, tmp_path)
    yield made
    made.trainer.kill()
    print(made.trainer.said())  # noqa: T201


def test_a_trainer_that_is_killed_at_every_step_promotes_once_and_goes_on_with_the_next_request(
    training: Training, processes: ForkServerContext
) -> None:
    first = training.hand_over("watch heat crime", "watch gigli comedy")
    seen = []
    for step in (STOPPED, *STEPS):
        seen.append(training.end_at(step, processes))
        if step == "published":
            shutil.rmtree(training.work)  # the registry is what counts
    before, published, promoted = (1, 1, NO_OFFSET), (2, 1, NO_OFFSET), (2, 2, NO_OFFSET)
    assert seen == [before, before, before, published, promoted, promoted]

    training.trainer.start(("-m", "sway", "trainer"))
    training.wait_until_committed(1)
    (version,) = training.audit([first])
    assert set(training.announced()) == {(version, PUBLISHED), (version, PROMOTED)}

    told = len(training.announced())
    second = training.hand_over("watch jaws sea", "watch casablanca war")
    training.wait_until_committed(2)
    training.trainer.process.send_signal(signal.SIGTERM)
    assert training.trainer.wait(5) == 0
    assert "Traceback" not in training.trainer.said()
    better = training.audit([first, second])[-1]
    assert training.announced()[told:] == [(better, PUBLISHED), (better, PROMOTED)]
