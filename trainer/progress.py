"""How far a training has come, as it tells whoever watches."""

from collections.abc import Callable
from dataclasses import dataclass


class Stopped(Exception):  # noqa: N818 -- nothing is wrong
    """Raised by a progress callback to end the work; called again with the same arguments, it resumes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment of a training.

    stage: what is going on, such as `heads` or `texts: fine-tuning`; `found` when the work was done already.
    done, total: of that stage, in texts or steps; 0 done when it begins.
    """

    stage: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Nobody watches."""
