"""Labelled snapshots: a worker's state when it scores each behaviour, and the outcome. No I/O.

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
    """How a worker's state is simulated.

    delay_ms: the time from an event until its outcome is known to later behaviours; 0 for any later behaviour.
    max_behaviours: the size of a window. partition_of: a user's partition; items are counted per partition.
    counted: whether outcomes of an item enter its counts.
    """

    delay_ms: int = 0
    max_behaviours: int = 50
    partition_of: Callable[[str], int] = lambda _user_id: 0
    counted: Callable[[str], bool] = lambda _item_id: True


class Labelled(NamedTuple):
    """The snapshot of a scored behaviour, and its outcome. known_at_ms: when the outcome becomes known."""

    snapshot: Snapshot
    user_id: str
    item_id: str
    y: float
    z: float | None
    known_at_ms: int


class _Pending(NamedTuple):
    """An outcome that is not known yet. place: the number of its behaviour among the user's."""

    known_at_ms: int
    place: int
    event: BehaviorEvent
    outcome: Outcome


@dataclass(slots=True)
class _User:
    """A user's window and totals. dropped: the number of behaviours that have left the window."""

    past: NDArray[np.void] = field(default_factory=lambda: np.empty(0, PAST))
    dropped: int = 0
    totals: UserTotals = NO_TOTALS

    def known_mean(self, mu: float) -> float:
        """Return the mean of the window's known grades, shrunk towards mu."""
        known = ~np.isnan(self.past["residual"])
        grades = self.past["z"][known].tolist()
        return user_mean(math.fsum(grades), len(grades), mu)


def snapshots(
    pairs: Iterable[Pair], text_of: Callable[[BehaviorEvent], str], settings: StreamSettings | None = None
) -> Iterator[Labelled]:
    """Yield a labelled snapshot for each event.

    pairs: events ordered by time, each with its outcome. text_of: returns a behaviour's text
    (BehaviourTokenizer.target).
    """
    stream = SnapshotStream(settings or StreamSettings())
    for event, outcome in pairs:
        yield stream.take(event, outcome, text_key(text_of(event)))


class SnapshotStream:
    """A worker's state, for events ordered by time."""

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._users: defaultdict[str, _User] = defaultdict(_User)
        self._items: defaultdict[tuple[int, str], ItemState] = defaultdict(lambda: NO_ITEM)
        self._means: defaultdict[int, Mean] = defaultdict(lambda: NO_MEAN)
        self._pending: deque[_Pending] = deque()

    def take(self, event: BehaviorEvent, outcome: Outcome, text: int) -> Labelled:
        """Return the snapshot at an event's time, then add the event to its user's window.

        text: the key of the event's text.
        """
        while self._pending and self._pending[0].known_at_ms <= event.occurred_at:
            self._learn(self._pending.popleft())
        user, item = self._users[event.user_id], item_key(event.item_id)
        partition = self._settings.partition_of(event.user_id)
        snapshot = Snapshot(
            event.occurred_at,
            item,
            text,
            self._items[partition, event.item_id],
            self._means[partition].value,
            user.totals,
            user.past.copy(),  # outcomes are written into the window in place
        )
        self._remember(user, event, item, text)
        known_at_ms = event.occurred_at + self._settings.delay_ms
        place = user.dropped + len(user.past) - 1
        self._pending.append(_Pending(known_at_ms, place, event, outcome))
        return Labelled(snapshot, event.user_id, event.item_id, outcome.y, outcome.z, known_at_ms)

    def _remember(self, user: _User, event: BehaviorEvent, item: int, text: int) -> None:
        behaviour = np.array([(event.occurred_at, item, text, _UNKNOWN, _UNKNOWN, _UNKNOWN)], PAST)
        kept = user.past[max(0, len(user.past) + 1 - self._settings.max_behaviours) :]
        user.dropped += len(user.past) - len(kept)
        user.past = np.concatenate((kept, behaviour))
        user.totals = user.totals.with_behaviour(event.occurred_at)

    def _learn(self, pending: _Pending) -> None:
        event, outcome = pending.event, pending.outcome
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
        index = pending.place - user.dropped
        if index >= 0:
            known = learned.past
            for name, value in (("y", known.y), ("z", known.z), ("residual", known.residual)):
                user.past[name][index] = value
        if self._settings.counted(event.item_id):
            self._items[where] = learned.item
