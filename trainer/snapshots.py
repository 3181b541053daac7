"""Labelled snapshots: what a worker would have known of each behaviour when it was scored, and what came of it. Pure.

Outcomes become known in the order of events, after a delay.
"""

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.features.history import PAST, Past
from model.features.keys import item_key, text_key
from model.features.learning import learn, user_mean
from model.features.snapshot import Snapshot
from model.features.state import NO_ITEM, NO_MEAN, NO_TOTALS, ItemState, Mean, UserTotals
from schemas.records import BehaviorEvent, Outcome

Pair = tuple[BehaviorEvent, Outcome]

_UNKNOWN = float("nan")


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How behaviours come to be scored, and outcomes known.

    delay_ms: how much later a behaviour must be to know an outcome; 0: any later one does.
    max_behaviours: of a window. partition_of: a user's partition; items are counted in each for itself.
    counted: whether outcomes of an item enter its counts.
    """

    delay_ms: int = 0
    max_behaviours: int = 50
    partition_of: Callable[[str], int] = lambda _user_id: 0
    counted: Callable[[str], bool] = lambda _item_id: True


class Labelled(NamedTuple):
    """A behaviour as it was scored, and its outcome. known_at_ms: from when on the outcome is known."""

    snapshot: Snapshot
    user_id: str
    item_id: str
    y: float
    z: float | None
    known_at_ms: int


class _Waiting(NamedTuple):
    """An outcome on its way. place: of its behaviour among the user's."""

    known_at_ms: int
    place: int
    event: BehaviorEvent
    outcome: Outcome


@dataclass(slots=True)
class _User:
    """A user's window, and the place of its oldest behaviour among all the user's."""

    past: NDArray[np.void] = field(default_factory=lambda: np.empty(0, PAST))
    dropped: int = 0
    totals: UserTotals = NO_TOTALS

    def known_mean(self, mu: float) -> float:
        """Return the mean of the window's known grades, shrunk to mu."""
        known = ~np.isnan(self.past["residual"])
        grades = self.past["z"][known].tolist()
        return user_mean(math.fsum(grades), len(grades), mu)


def snapshots(
    pairs: Iterable[Pair], text_of: Callable[[BehaviorEvent], str], settings: StreamSettings | None = None
) -> Iterator[Labelled]:
    """Yield a labelled snapshot for each event.

    pairs: events in the order of their times, each with its outcome. text_of: a behaviour in words, as it is scored
    (BehaviourTokenizer.target).
    """
    stream = SnapshotStream(settings or StreamSettings())
    for event, outcome in pairs:
        yield stream.take(event, outcome, text_key(text_of(event)))


class SnapshotStream:
    """State as a worker keeps it, of events in the order of their times."""

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._users: defaultdict[str, _User] = defaultdict(_User)
        self._items: defaultdict[tuple[int, str], ItemState] = defaultdict(lambda: NO_ITEM)
        self._means: defaultdict[int, Mean] = defaultdict(lambda: NO_MEAN)
        self._waiting: deque[_Waiting] = deque()

    def take(self, event: BehaviorEvent, outcome: Outcome, text: int) -> Labelled:
        """Return what is known by an event's time, then put the event into its user's window. text: its text's key."""
        while self._waiting and self._waiting[0].known_at_ms <= event.occurred_at:
            self._learn(self._waiting.popleft())
        user, item = self._users[event.user_id], item_key(event.item_id)
        partition = self._settings.partition_of(event.user_id)
        snapshot = Snapshot(
            event.occurred_at,
            item,
            text,
            self._items[partition, event.item_id],
            self._means[partition].value,
            user.totals,
            user.past.copy(),  # outcomes are entered into the window itself
        )
        self._remember(user, event, item, text)
        known_at_ms = event.occurred_at + self._settings.delay_ms
        place = user.dropped + len(user.past) - 1
        self._waiting.append(_Waiting(known_at_ms, place, event, outcome))
        return Labelled(snapshot, event.user_id, event.item_id, outcome.y, outcome.z, known_at_ms)

    def _remember(self, user: _User, event: BehaviorEvent, item: int, text: int) -> None:
        behaviour = np.array([(event.occurred_at, item, text, _UNKNOWN, _UNKNOWN, _UNKNOWN)], PAST)
        kept = user.past[max(0, len(user.past) + 1 - self._settings.max_behaviours) :]
        user.dropped += len(user.past) - len(kept)
        user.past = np.concatenate((kept, behaviour))
        user.totals = user.totals.with_behaviour(event.occurred_at)

    def _learn(self, waiting: _Waiting) -> None:
        event, outcome = waiting.event, waiting.outcome
        partition, user = self._settings.partition_of(event.user_id), self._users[event.user_id]
        where, mean = (partition, event.item_id), self._means[partition]
        learned = learn(
            Past(event.occurred_at, event.item_id),
            outcome.y,
            outcome.z,
            item=self._items[where],
            totals=user.totals,
            mean=mean,
            own_mean=user.known_mean(mean.value),
        )
        user.totals, self._means[partition] = learned.totals, learned.mean
        index = waiting.place - user.dropped
        if index >= 0:
            known = learned.past
            for name, value in (("y", known.y), ("z", known.z), ("residual", known.residual)):
                user.past[name][index] = value
        if self._settings.counted(event.item_id):
            self._items[where] = learned.item
