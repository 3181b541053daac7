"""Ratings as a service without stars has them: what was liked is told a while later, what was not never is. Pure.

The explicit counterpart tells both, after the very same delays. Between them: negatives are told, but when the horizon
ends, so that what is known of them comes as late as without stars.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.records import BehaviorEvent, Outcome
from sway.movielens import Pair

HORIZON_S = 3_600
"""All delays are below it, so it makes no negative out of anything that was liked; a longer one would only let every
negative be known later."""
GRACE_S = 600
"""How long stream time may go on before what was read beside it: one mean delay, and far more than a step of a topic
that is in the order of time."""
MEAN_DELAY_S = 600

_LONGEST_MS = HORIZON_S * 1000 - 1

Key: TypeAlias = tuple[str, str]
"""User and item: an example carries no event id, and nobody rated a film twice."""


class Negatives(StrEnum):
    """How negatives become known, by the name of their side."""

    EXPIRED = "implicit"
    TOLD = "explicit"
    TOLD_LATE = "explicit-at-horizon"


class Told(NamedTuple):
    """A record and its time, milliseconds since 1970, by which the topics are in order."""

    at_ms: int
    record: BehaviorEvent | Outcome


def delays_ms(number: int, seed: int = 0) -> NDArray[np.int64]:
    """Draw exponential delays of MEAN_DELAY_S on average, of those below HORIZON_S: int64 (number,), at least 1.

    By the inverse of the cut distribution's own function, so that nothing piles up at the horizon.
    """
    below = -np.expm1(-HORIZON_S / MEAN_DELAY_S)
    drawn = -MEAN_DELAY_S * np.log1p(-below * np.random.default_rng(seed).random(number))  # seconds
    whole: NDArray[np.int64] = np.clip((drawn * 1000).astype(np.int64), 1, _LONGEST_MS)
    return whole


def records(pairs: Sequence[Pair], delays: NDArray[np.int64], negatives: Negatives) -> list[Told]:
    """Return events and outcomes in the order of time, events first at equal times.

    delays: of outcomes, milliseconds, (len(pairs),). No outcome has a z: a service without stars has none, and the
    sides shall differ in their negatives alone.
    """
    told = [Told(event.occurred_at, event) for event, _ in pairs]
    told += _outcomes(pairs, delays, negatives)
    return sorted(told, key=lambda one: one.at_ms)  # stable: events come first


def _outcomes(pairs: Sequence[Pair], delays: NDArray[np.int64], negatives: Negatives) -> Iterator[Told]:
    for (event, outcome), delay_ms in zip(pairs, delays.tolist(), strict=True):
        is_negative = outcome.y < 0.5
        if is_negative and negatives is Negatives.EXPIRED:
            continue
        is_late = is_negative and negatives is Negatives.TOLD_LATE
        at_ms = event.occurred_at + (_LONGEST_MS if is_late else delay_ms)
        yield Told(at_ms, Outcome(event.event_id, event.user_id, outcome.y, at_ms))


def key_of(event: BehaviorEvent) -> Key:
    """Return what an event and its example have in common."""
    return event.user_id, event.item_id


@dataclass(frozen=True, slots=True)
class PartRates:
    """One part of the events, by the examples that came of them.

    events, examples: how many. rate: mean y of the examples. true_rate: of the part's events, all of them. wrong:
    examples whose y is not their event's.
    """

    events: int
    examples: int
    rate: float
    true_rate: float
    wrong: int

    @property
    def without_example(self) -> int:
        """Events that no example came of."""
        return self.events - self.examples

    @classmethod
    def of(cls, pairs: Sequence[Pair], labels: Mapping[Key, float]) -> "PartRates":
        """Hold the labels of examples against the truth. labels: y of each example."""
        truth = {key_of(event): outcome.y for event, outcome in pairs}
        told = {key: labels[key] for key in truth if key in labels}
        wrong = sum(y != truth[key] for key, y in told.items())
        return cls(len(truth), len(told), _mean(told.values()), _mean(truth.values()), wrong)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float("nan")
