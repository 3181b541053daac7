"""Attribution: what later actions of the same user on the same item say of an event. Pure.

Source: docs/labels.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.records import Signal
from stream.labels.stream_time import step_ms


@dataclass(frozen=True, slots=True)
class Rule:
    """`by` within so long after `action` gives y."""

    action: str
    by: str
    within_ms: int
    y: float = 1.0


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """How labels come about.

    rules: the first that fits gives y. weights: by action; z is the strongest of those within the horizon.
    negative: y of an event that no rule labels; None gives it no label.
    horizon_ms: how long after its event an outcome counts. grace_ms: how late or out of order records may come.
    """

    rules: tuple[Rule, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    negative: float | None = None
    horizon_ms: int = 86_400_000
    grace_ms: int = 3_600_000
    wait_ms: int = field(init=False)
    """Stream time from reading an event until it is settled: by then all that counts has come."""
    labels_fall_due: bool = field(init=False)
    """Whether events get labels when they fall due; else every label is an outcome's."""
    step_ms: int = field(init=False)
    """How far one record may move stream time without other witnesses."""
    signal_actions: frozenset[str] = field(init=False)
    """The actions that are remembered for the events before them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wait_ms", self.horizon_ms + self.grace_ms)
        object.__setattr__(self, "labels_fall_due", bool(self.rules) or self.negative is not None)
        object.__setattr__(self, "step_ms", step_ms(self.grace_ms))
        object.__setattr__(
            self, "signal_actions", frozenset({rule.by for rule in self.rules} | set(self.weights))
        )


class Label(NamedTuple):
    """attributed: by a rule; else it is the configured negative."""

    y: float
    z: float | None
    attributed: bool


def label_by_signals(
    action: str, occurred_at: int, signals: Sequence[Signal], settings: JoinSettings
) -> Label | None:
    """Return the label of an event that is due, or None if nothing gives it one.

    signals: the same user's actions on the same item, of any time; only later ones count, by event time.
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
