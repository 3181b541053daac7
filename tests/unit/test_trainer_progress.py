"""A training's progress in lines: at each stage, and every interval, by a clock that the test moves."""

from collections.abc import Callable

import pytest

from trainer.progress import Progress, ProgressLines

STAGE = "texts: fine-tuning"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Told:
    """Lines, and the clock that they are told by."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.lines = ProgressLines(self.said.append, now_s=self.clock, interval_s=30)

    def after(self, seconds: float, do: Callable[[], None]) -> list[str]:
        """Move the clock, do something, and return what was said because of it."""
        before = len(self.said)
        self.clock.now_s += seconds
        do()
        return self.said[before:]


@pytest.fixture
def told() -> Told:
    return Told()


def test_each_stage_has_a_line_when_it_begins_and_one_when_it_ends(told: Told) -> None:
    for stage, total in (("targets", 3), ("heads", 1), (STAGE, 2)):
        for done in range(1, total + 1):
            told.clock.now_s += 1
            told.lines(Progress(stage, done, total))
    assert told.said == [
        "targets: 1 of 3",
        "targets: 3 of 3, took 0:00:02",
        "heads: 1 of 1, took 0:00:00",
        f"{STAGE}: 1 of 2",
        f"{STAGE}: 2 of 2, took 0:00:01",
    ]


def test_a_long_stage_says_every_thirty_seconds_how_far_it_is_with_loss_and_time_to_go(told: Told) -> None:
    told.lines(Progress(STAGE, 1, 1250))
    lines = [
        line
        for step in range(2, 122)
        for line in told.after(1, lambda step=step: told.lines(Progress(STAGE, step, 1250, loss=1 / step)))  # type: ignore[misc]
    ]
    assert lines == [
        f"{STAGE}: 31 of 1,250, loss 0.0323, 0:00:30 so far, 0:20:19 to go",
        f"{STAGE}: 61 of 1,250, loss 0.0164, 0:01:00 so far, 0:19:49 to go",
        f"{STAGE}: 91 of 1,250, loss 0.0110, 0:01:30 so far, 0:19:19 to go",
        f"{STAGE}: 121 of 1,250, loss 0.0083, 0:02:00 so far, 0:18:49 to go",
    ]


def test_a_single_step_that_takes_long_has_its_lines_too(told: Told) -> None:
    told.lines(Progress(STAGE, 5, 10, loss=0.5))  # resumed
    assert told.after(29, told.lines.tick) == []
    assert told.after(1, told.lines.tick) == [f"{STAGE}: 5 of 10, loss 0.5000, 0:00:30 so far"]
    assert told.after(29, told.lines.tick) == []
    assert told.after(1, told.lines.tick) == [f"{STAGE}: 5 of 10, loss 0.5000, 0:01:00 so far"]
    assert told.after(0, lambda: told.lines(Progress(STAGE, 6, 10))) == []


def test_what_follows_the_last_step_has_its_lines_too(told: Told) -> None:
    told.lines(Progress("heads", 1, 1))
    assert told.after(30, told.lines.tick) == ["after heads: in progress, 0:00:30 so far"]
    assert told.after(30, told.lines.tick) == ["after heads: in progress, 0:01:00 so far"]


def test_a_stage_without_a_count_says_how_long_it_takes(told: Told) -> None:
    assert told.after(0, lambda: told.lines(Progress("preparing", 0, 0))) == ["preparing"]
    assert told.after(31, told.lines.tick) == ["preparing: 0:00:31 so far"]


def test_before_the_first_stage_there_is_nothing_to_say(told: Told) -> None:
    assert told.after(60, told.lines.tick) == []


def test_the_same_stage_of_the_next_training_begins_anew(told: Told) -> None:
    told.lines(Progress("texts", 8, 8))
    assert told.after(5, lambda: told.lines(Progress("texts", 2, 8))) == ["texts: 2 of 8"]
    assert told.after(9, lambda: told.lines(Progress("texts", 8, 8))) == ["texts: 8 of 8, took 0:00:09"]
