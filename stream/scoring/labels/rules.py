"""Attribution: labels an event by the same user's later actions on the same item.

Source: docs/labels.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.state_records import Signal
from stream.scoring.labels.stream_time import step_ms


@dataclass(frozen=True, slots=True)
class Rule:
    """An event with `action` gets label y if `by` follows within `within_ms`."""

    action: str
    by: str
    within_ms: int
    y: float = 1.0


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """Settings of the label join.

    rules: y comes from the first rule that matches. weights: by action; z is the largest weight within the horizon.
    negative: y of an event without a matching rule; None leaves it unlabeled.
    horizon_ms: maximum time between event and outcome. grace_ms: maximum lateness of records.
    """

    rules: tuple[Rule, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    negative: float | None = None
    horizon_ms: int = 86_400_000
    grace_ms: int = 3_600_000
    wait_ms: int = field(init=False)
    """Stream time between reading an event and settling it; covers the horizon and late records."""
    labels_fall_due: bool = field(init=False)
    """Whether events can be labeled when they are due; otherwise all labels come from outcomes."""
    step_ms: int = field(init=False)
    """Maximum step of stream time by one record without further witnesses."""
    signal_actions: frozenset[str] = field(init=False)
    """Actions to remember because they can label earlier events."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wait_ms", self.horizon_ms + self.grace_ms)
        object.__setattr__(self, "labels_fall_due", bool(self.rules) or self.negative is not None)
        object.__setattr__(self, "step_ms", step_ms(self.grace_ms))
        object.__setattr__(
            self, "signal_actions", frozenset({rule.by for rule in self.rules} | set(self.weights))
        )


class Label(NamedTuple):
    """A label. attributed: whether it comes from a rule; otherwise it is the configured negative."""

    y: float
    z: float | None
    attributed: bool


def label_by_signals(
    action: str, occurred_at: int, signals: Sequence[Signal], settings: JoinSettings
) -> Label | None:
    """Return the label of a due event, or None if it stays unlabeled.

    signals: the same user's actions on the same item, at any time; only later ones are used, by event time.
    """
    later = [
        signal for signal in signals if occurred_at < signal.occurred_at <= occurred_at + settings.horizon_ms
    ]
    y = next(
        (
            rule.y
            for rule in settings.rules
            if rule.action == action
            and any(
                signal.action == rule.by and signal.occurred_at <= occurred_at + rule.within_ms
                for signal in later
            )
        ),
        None,
    )
    attributed = y is not None
    y = settings.negative if y is None else y
    if y is None:
        return None
    z = None
    if settings.weights:
        z = max((settings.weights.get(signal.action, 0.0) for signal in later), default=0.0)
    return Label(y, z, attributed)
