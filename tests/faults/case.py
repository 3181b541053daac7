"""A case of the suite: what is broken, and for whom it is short enough."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.audit import Audit
    from tests.faults.stage import Stage

Play = Callable[["Stage"], "Audit | None"]


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    play: starts workers and load, breaks something, and waits until that has healed; the stage then stops both and
    audits, unless it returns an audit of its own. brokers: 1 or 3; own_brokers: a cluster that no other case sees,
    since this one breaks it. quick: part of `make test` too. limit_s: longer than this is a failure.
    """

    name: str
    play: Play
    quick: bool = False
    brokers: int = 1
    own_brokers: bool = False
    limit_s: float = 180.0


def case(
    name: str, *, quick: bool = False, brokers: int = 1, own_brokers: bool = False, limit_s: float = 180.0
) -> Callable[[Play], Case]:
    """Make a Case of a function."""

    def made(play: Play) -> Case:
        return Case(name, play, quick, brokers, own_brokers or brokers > 1, limit_s)

    return made
