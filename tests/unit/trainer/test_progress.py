"""The progress lines of a training, at each stage and every interval, with a controlled clock."""

from collections.abc import Callable

import pytest

from trainer.progress import Progress, ProgressLines

STAGE = "texts: fine-tuning"


class Clock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ProgressLog:
    """Progress lines and the clock that they depend on."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.written: list[str] = []
        self.lines = ProgressLines(self.written.append, now_s=self.clock, interval_s=30)

    def after(self, seconds: float, do: Callable[[], None]) -> list[str]:
        """Advance the clock, call `do`, and return the lines that were written."""
        before = len(self.written)
        self.clock.now_s += seconds
        do()
        return self.written[before:]


@pytest.fixture
def log() -> ProgressLog:
    return ProgressLog()


def test_each_stage_has_a_first_and_a_last_line(log: ProgressLog) -> None:
    for stage, total in (("targets", 3), ("heads", 1), (STAGE, 2)):
        for done in range(1, total + 1):
            log.clock.now_s += 1
            log.lines(Progress(stage, done, total))
    assert log.written == [
        "targets: 1 of 3",
        "targets: 3 of 3, took 0:00:02",
        "heads: 1 of 1, took 0:00:00",
        f"{STAGE}: 1 of 2",
        f"{STAGE}: 2 of 2, took 0:00:01",
    ]


def test_a_long_stage_is_reported_every_thirty_seconds(log: ProgressLog) -> None:
    log.lines(Progress(STAGE, 1, 1250))
    lines = [
        line
        for step in range(2, 122)
        for line in log.after(1, lambda step=step: log.lines(Progress(STAGE, step, 1250, loss=1 / step)))  # type: ignore[misc]
    ]
    assert lines == [
        f"{STAGE}: 31 of 1,250, loss 0.0323, 0:00:30 so far, 0:20:19 to go",
        f"{STAGE}: 61 of 1,250, loss 0.0164, 0:01:00 so far, 0:19:49 to go",
        f"{STAGE}: 91 of 1,250, loss 0.0110, 0:01:30 so far, 0:19:19 to go",
        f"{STAGE}: 121 of 1,250, loss 0.0083, 0:02:00 so far, 0:18:49 to go",
    ]


def test_a_long_step_is_reported_every_thirty_seconds(log: ProgressLog) -> None:
    # The stage is resumed.
    log.lines(Progress(STAGE, 5, 10, loss=0.5))
    assert log.after(29, log.lines.tick) == []
    assert log.after(1, log.lines.tick) == [f"{STAGE}: 5 of 10, loss 0.5000, 0:00:30 so far"]
    assert log.after(29, log.lines.tick) == []
    assert log.after(1, log.lines.tick) == [f"{STAGE}: 5 of 10, loss 0.5000, 0:01:00 so far"]
    assert log.after(0, lambda: log.lines(Progress(STAGE, 6, 10))) == []


def test_work_after_the_last_step_is_reported(log: ProgressLog) -> None:
    log.lines(Progress("heads", 1, 1))
    assert log.after(30, log.lines.tick) == ["after heads: in progress, 0:00:30 so far"]
    assert log.after(30, log.lines.tick) == ["after heads: in progress, 0:01:00 so far"]


def test_a_stage_without_a_count_is_reported_with_its_time(log: ProgressLog) -> None:
    assert log.after(0, lambda: log.lines(Progress("preparing", 0, 0))) == ["preparing"]
    assert log.after(31, log.lines.tick) == ["preparing: 0:00:31 so far"]


def test_nothing_is_reported_before_the_first_stage(log: ProgressLog) -> None:
    assert log.after(60, log.lines.tick) == []


def test_the_same_stage_of_the_next_training_restarts(log: ProgressLog) -> None:
    log.lines(Progress("texts", 8, 8))
    assert log.after(5, lambda: log.lines(Progress("texts", 2, 8))) == ["texts: 2 of 8"]
    assert log.after(9, lambda: log.lines(Progress("texts", 8, 8))) == ["texts: 8 of 8, took 0:00:09"]
