"""A row of the summary: one figure beside its peer's, and what was aimed at."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Row:
    """value and peer_value are of one unit and one run; ratio is the first over the second.

    aim: what the ratio should be, such as ">= 15", or the value if there is no peer; None in a row that only informs.
    """

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    aim: str | None = None
    met: bool | None = None

    @classmethod
    def compared(
        cls,
        name: str,
        value: float,
        unit: str,
        peer: str,
        peer_value: float,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> Self:
        """Compare with a peer; at_least or at_most is the aim for the ratio, neither makes a row that informs."""
        ratio = value / peer_value
        aim = met = None
        if at_least is not None:
            aim, met = f">= {at_least:g}", ratio >= at_least
        elif at_most is not None:
            aim, met = f"<= {at_most:g}", ratio <= at_most
        return cls(name, _short(value), unit, peer, _short(peer_value), _short(ratio), aim, met)

    @classmethod
    def aimed(
        cls,
        name: str,
        value: float,
        unit: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> Self:
        """Say a figure that has an aim of its own and no peer; give one of at_least and at_most."""
        if at_least is not None:
            aim, met = f">= {at_least:,g}", value >= at_least
        else:
            assert at_most is not None
            aim, met = f"<= {at_most:,g}", value <= at_most
        return cls(name, _short(value), unit, aim=aim, met=met)

    @classmethod
    def informing(cls, name: str, value: float, unit: str) -> Self:
        """Say a figure that has no peer."""
        return cls(name, _short(value), unit)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
