"""A case of the fault suite."""

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

    play: starts workers and load, injects a fault, and waits until the workers have recovered. The stage then stops
    both and audits, unless `play` returns its own audit. brokers: 1 or 3. own_brokers: use brokers that no other case
    uses, since this one breaks them. quick: also part of `make test`. limit_s: the case fails if it takes longer.
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
    """Turn a function into a Case."""

    def made(play: Play) -> Case:
        return Case(name, play, quick, brokers, own_brokers or brokers > 1, limit_s)

    return made
