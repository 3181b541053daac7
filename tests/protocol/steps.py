"""Tasks that run one step at a time, so that a process can die or be stopped between any two."""

from collections.abc import Callable, Generator
from dataclasses import dataclass


def at_once() -> bool:
    """Nothing to wait for."""
    return True


@dataclass(frozen=True, slots=True)
class Wait:
    """A place between two steps: what comes next, and when it can."""

    before: str
    until: Callable[[], bool] = at_once


Steps = Generator[
    Wait, int, None
]  # takes a number at each step, from which it draws what the step leaves open


class Task:
    """A generator, always held at a `Wait`."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.wait: Wait | None = next(steps)  # None: it has ended

    @property
    def ready(self) -> bool:
        """Whether its next step can be made now."""
        return self.wait is not None and self.wait.until()

    def step(self, pick: int) -> None:
        """Make the next step."""
        try:
            self.wait = self._steps.send(pick)
        except StopIteration:
            self.wait = None
