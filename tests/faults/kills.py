"""Workers that are killed, stopped, ended in peace, and come and go."""

import random
import signal
import time

from tests.faults.case import case
from tests.faults.inside import Inside
from tests.faults.stage import Stage


@case("SIGKILL at 20 random moments, one of two workers", limit_s=300)
def sigkill(stage: Stage) -> None:
    draw = random.Random(5)  # noqa: S311
    workers = stage.create_topics().start("a", "b")
    stage.feed()
    stage.wait_for_more(200)
    for kill in range(20):
        time.sleep(draw.uniform(0.05, 1.5))
        worker = workers[draw.randrange(2)]
        began = time.monotonic()
        worker.kill()
        worker.start()
        if kill % 5 == 4:
            stage.wait_until_caught_up(began)
            stage.check_offsets()


@case("SIGKILL between the transaction and the local write", quick=True)
def sigkill_after_commit(stage: Stage) -> None:
    draw = random.Random(6)  # noqa: S311
    stage.create_topics()
    worker = stage.worker("a")
    stage.feed()
    for _ in range(2):
        began = time.monotonic()
        worker.inside = Inside(die_after_commit=draw.randrange(2, 30))
        worker.start()
        assert worker.wait(60) == -signal.SIGKILL
        worker.inside = Inside(die_in_transaction=draw.randrange(2, 30))
        worker.start()
        assert worker.wait(60) == -signal.SIGKILL
    worker.inside = Inside()
    worker.start()
    stage.wait_until_caught_up(began)
