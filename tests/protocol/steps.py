"""Tasks that run one step at a time, so that a process can crash or be paused between any two steps."""

from collections.abc import Callable, Generator
from dataclasses import dataclass


def at_once() -> bool:
    """Return True: there is nothing to wait for."""
    return True


@dataclass(frozen=True, slots=True)
class Wait:
    """A point between two steps. before: the name of the next step. until: whether it can be made."""

    before: str
    until: Callable[[], bool] = at_once


Steps = Generator[Wait, int, None]
"""A task's steps; each is sent a number that determines its random choices."""


class Task:
    """A generator that is suspended at a `Wait`."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.wait: Wait | None = next(steps)  # None after its end

    @property
    def ready(self) -> bool:
        """Whether the next step can be made now."""
        return self.wait is not None and self.wait.until()

    def step(self, pick: int) -> None:
        """Make the next step."""
        try:
            self.wait = self._steps.send(pick)
        except StopIteration:
            self.wait = None
