"""Rows of the summary: a figure, its peer's figure and its aim."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the summary.

    value, peer_value: figures of the same run and unit. ratio: value / peer_value.
    aim: the target of the ratio, or of the value without a peer, such as ">= 15"; None in an informative row.
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
        """Return a comparison with a peer. at_least, at_most: the aim of the ratio; an informative row has neither."""
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
        """Return a figure with an aim and without a peer. Exactly one of at_least and at_most is required."""
        if at_least is not None:
            aim, met = f">= {at_least:,g}", value >= at_least
        else:
            assert at_most is not None
            aim, met = f"<= {at_most:,g}", value <= at_most
        return cls(name, _short(value), unit, aim=aim, met=met)

    @classmethod
    def informing(cls, name: str, value: float, unit: str) -> Self:
        """Return an informative figure without a peer."""
        return cls(name, _short(value), unit)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
