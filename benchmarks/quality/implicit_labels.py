"""Implicit feedback from ratings: likes are observed after a delay, dislikes never.

The explicit counterpart reports both after the same delays. A third side reports dislikes at the end of the horizon, so
that they become known as late as with implicit feedback.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.records import BehaviorEvent, Outcome
from sway.demo.movielens import Pair

HORIZON_S = 3_600
"""Label horizon. All delays are shorter, so no like becomes a negative; a longer horizon would only delay negatives."""
GRACE_S = 600
"""Label grace: how far stream time may advance before a record is read. It is one mean delay, and much more than a step
of a topic in time order."""
MEAN_DELAY_S = 600

_LONGEST_MS = HORIZON_S * 1000 - 1

Key: TypeAlias = tuple[str, str]
"""User and item, which are unique: an example has no event id, and no user rated a film twice."""


class Negatives(StrEnum):
    """How negatives become known; the values are names of sides."""

    EXPIRED = "implicit"
    OBSERVED = "explicit"
    OBSERVED_LATE = "explicit-at-horizon"


class TimedRecord(NamedTuple):
    """A record and its time in milliseconds since 1970, which is the order of the topics."""

    at_ms: int
    record: BehaviorEvent | Outcome


def delays_ms(number: int, seed: int = 0) -> NDArray[np.int64]:
    """Sample delays, int64 (number,), from an exponential distribution truncated at HORIZON_S, at least 1 ms.

    MEAN_DELAY_S is the mean before truncation. Inverse transform sampling avoids a peak at the horizon.
    """
    below = -np.expm1(-HORIZON_S / MEAN_DELAY_S)
    drawn = -MEAN_DELAY_S * np.log1p(-below * np.random.default_rng(seed).random(number))  # seconds
    whole: NDArray[np.int64] = np.clip((drawn * 1000).astype(np.int64), 1, _LONGEST_MS)
    return whole


def records(pairs: Sequence[Pair], delays: NDArray[np.int64], negatives: Negatives) -> list[TimedRecord]:
    """Return events and outcomes in time order, events first at equal times.

    delays: of outcomes in milliseconds, (len(pairs),). Outcomes have no z, because a service without ratings has none
    and the sides must differ only in their negatives.
    """
    timed = [TimedRecord(event.occurred_at, event) for event, _ in pairs]
    timed += _outcomes(pairs, delays, negatives)
    # The sort is stable, so events come first.
    return sorted(timed, key=lambda one: one.at_ms)


def _outcomes(
    pairs: Sequence[Pair], delays: NDArray[np.int64], negatives: Negatives
) -> Iterator[TimedRecord]:
    for (event, outcome), delay_ms in zip(pairs, delays.tolist(), strict=True):
        is_negative = outcome.y < 0.5
        if is_negative and negatives is Negatives.EXPIRED:
            continue
        is_late = is_negative and negatives is Negatives.OBSERVED_LATE
        at_ms = event.occurred_at + (_LONGEST_MS if is_late else delay_ms)
        yield TimedRecord(at_ms, Outcome(event.event_id, event.user_id, outcome.y, at_ms))


def key_of(event: BehaviorEvent) -> Key:
    """Return the key shared by an event and its example."""
    return event.user_id, event.item_id


@dataclass(frozen=True, slots=True)
class PartRates:
    """Label rates of one part of the events.

    events, examples: their numbers. rate: mean y of the examples. true_rate: mean y of all events of the part.
    wrong: the number of examples with a y that differs from the event's.
    """

    events: int
    examples: int
    rate: float
    true_rate: float
    wrong: int

    @property
    def without_example(self) -> int:
        """The number of events without an example."""
        return self.events - self.examples

    @classmethod
    def of(cls, pairs: Sequence[Pair], labels: Mapping[Key, float]) -> "PartRates":
        """Compare the labels of examples with the true ones. labels: y of each example."""
        truth = {key_of(event): outcome.y for event, outcome in pairs}
        labelled = {key: labels[key] for key in truth if key in labels}
        wrong = sum(y != truth[key] for key, y in labelled.items())
        return cls(len(truth), len(labelled), _mean(labelled.values()), _mean(truth.values()), wrong)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float("nan")
