"""The rows that a worker would have scored: numbers and a snapshot of each window, from events and outcomes. Pure.

Outcomes become known in the order of events, after a delay. Item vectors are fitted on the outcomes known so far, and
used from there on only.

Source: docs/model.md.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.features.history import PAST_COLUMNS, History, Past, past_array
from model.features.items import ITEM_DIMENSIONS, NO_ITEMS, ItemFacts
from model.features.keys import item_key
from model.features.learning import known_mean, learn
from model.features.numbers import numbers
from model.features.state import NO_ITEM, NO_MEAN, NO_TOTALS, ItemState, Mean, UserTotals
from schemas.records import BehaviorEvent, Outcome
from trainer.item_vectors import Fitted, ItemVectors
from trainer.text_vectors import TextVectors

Floats = NDArray[np.float32]
Pair = tuple[BehaviorEvent, Outcome]


@dataclass(frozen=True, slots=True)
class RowSettings:
    """How rows come about.

    delay_ms: how much later a behaviour must be to know an outcome; 0: any later one does.
    max_behaviours: of a window. kept: how many of those a row's snapshot has.
    refit_rows: item vectors are fitted anew after so many events; 0 never. refit_until: and not after that event.
    partition_of: a user's partition; items are counted in each for itself.
    counted: whether outcomes of an item enter its counts and vectors.
    mapped: whether what an item's text says of it stands in for what is not known of it.
    unseen_share: of rows that are made a second time, with their item as if nobody had met it.
    """

    delay_ms: int = 0
    max_behaviours: int = 50
    kept: int = 50
    refit_rows: int = 5_000
    refit_until: int | None = None
    partition_of: Callable[[str], int] = lambda _user_id: 0
    counted: Callable[[str], bool] = lambda _item_id: True
    mapped: bool = True
    unseen_share: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRows:
    """N rows in the order of events, then the rows that are made a second time, with their item unseen.

    A row's H newest behaviours before it are the newest first. of: int64 (N,), each row's event; events: how many.

    numbers: float32 (N, F). y, z: float32 (N,), the grade for z where it is not known. users, items: str (N,).
    text, item: int32 (N,), rows of the text vectors and of item_vectors. past_text, past_item: int32 (N, H), the same
    of the past; -1 and 0 where there is no behaviour. past: float32 (N, H, 4): known, grade, residual, log gap.
    item_vectors: float32 (V, 32), of all fits; row 0 is the unknown's, zeros.
    """

    numbers: Floats
    y: Floats
    z: Floats
    users: NDArray[np.str_]
    items: NDArray[np.str_]
    text: NDArray[np.int32]
    item: NDArray[np.int32]
    past_text: NDArray[np.int32]
    past_item: NDArray[np.int32]
    past: Floats
    item_vectors: Floats
    of: NDArray[np.int64]
    events: int

    def places(self, first: int, last: int, *, unseen: bool = False) -> NDArray[np.int64]:
        """Return the rows of events first to last - 1; unseen: those that were made a second time as well."""
        chosen = (self.of >= first) & (self.of < last)
        if not unseen:
            chosen[self.events :] = False
        return np.flatnonzero(chosen)


class _Waiting(NamedTuple):
    """An outcome on its way."""

    known_at_ms: int
    place: int  # of its behaviour among the user's
    event: BehaviorEvent
    outcome: Outcome


class _Row(NamedTuple):
    """A row as FeatureRows has it; of: its event."""

    of: int
    numbers: Floats
    text: int
    item: int
    past_text: NDArray[np.int32]
    past_item: NDArray[np.int32]
    past: Floats


@dataclass(slots=True)
class _User:
    """A user's window: behaviours with their texts' rows, and the place of the oldest among all the user's."""

    pasts: deque[Past] = field(default_factory=deque)
    texts: deque[int] = field(default_factory=deque)
    dropped: int = 0
    totals: UserTotals = NO_TOTALS


def feature_rows(
    pairs: Sequence[Pair],
    texts: TextVectors,
    settings: RowSettings | None = None,
    *,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> FeatureRows:
    """Score events in order as far as the model's inputs go; each outcome becomes known after its delay.

    pairs: events in the order of their times, each with its outcome. texts: a vector for each event's text.
    """
    stream = _Stream(texts, settings or RowSettings())
    for place, (event, outcome) in enumerate(pairs):
        stream.take(place, event, outcome)
        progress(place + 1, len(pairs))
    return stream.rows(pairs)


class _Stream:
    """State as a worker keeps it, and the rows made so far."""

    def __init__(self, texts: TextVectors, settings: RowSettings) -> None:
        self._settings = settings
        self._texts = texts
        self._users: defaultdict[str, _User] = defaultdict(_User)
        self._items: defaultdict[tuple[int, str], ItemState] = defaultdict(lambda: NO_ITEM)
        self._means: defaultdict[int, Mean] = defaultdict(lambda: NO_MEAN)
        self._waiting: deque[_Waiting] = deque()
        self._fitting = ItemVectors(texts.by_item() if settings.mapped else {})
        self._fitted = Fitted(NO_ITEMS, NO_ITEMS)
        self._tables = [np.zeros((1, ITEM_DIMENSIONS), np.float32)]
        self._first_row = 0
        self._rows: list[_Row] = []
        self._unseen: list[_Row] = []
        self._random = np.random.default_rng(0)

    def take(self, place: int, event: BehaviorEvent, outcome: Outcome) -> None:
        """Make an event's row of what is known by its time, then put it into its user's window."""
        while self._waiting and self._waiting[0].known_at_ms <= event.occurred_at:
            self._learn(self._waiting.popleft())
        self._refit(place)
        user = self._users[event.user_id]
        text = self._texts.row(event)
        self._make(place, event, user, text)
        user.totals = user.totals.seen(event.occurred_at)
        user.pasts.append(Past(event.occurred_at, event.item_id))
        user.texts.append(text)
        if len(user.pasts) > self._settings.max_behaviours:
            user.pasts.popleft()
            user.texts.popleft()
            user.dropped += 1
        index = user.dropped + len(user.pasts) - 1
        self._waiting.append(_Waiting(event.occurred_at + self._settings.delay_ms, index, event, outcome))

    def rows(self, pairs: Sequence[Pair]) -> FeatureRows:
        """Return all rows made."""
        made = [*self._rows, *self._unseen]
        of = np.array([row.of for row in made], np.int64)
        y = np.array([outcome.y for _, outcome in pairs], np.float32)
        z = np.array([outcome.y if outcome.z is None else outcome.z for _, outcome in pairs], np.float32)
        return FeatureRows(
            np.stack([row.numbers for row in made]),
            y[of],
            z[of],
            np.array([event.user_id for event, _ in pairs])[of],
            np.array([event.item_id for event, _ in pairs])[of],
            np.array([row.text for row in made], np.int32),
            np.array([row.item for row in made], np.int32),
            np.stack([row.past_text for row in made]),
            np.stack([row.past_item for row in made]),
            np.stack([row.past for row in made]),
            np.concatenate(self._tables),
            of,
            len(self._rows),
        )

    def _make(self, place: int, event: BehaviorEvent, user: _User, text: int) -> None:
        partition = self._settings.partition_of(event.user_id)
        history = History.of(past_array(user.pasts))
        past_texts = np.array(user.texts, np.int64)
        cosines = self._texts.cosines(text, past_texts)
        mu = self._means[partition].value
        item, table = self._items[partition, event.item_id], self._fitted.table

        def row(item: ItemState, facts: ItemFacts, first_row: int) -> _Row:
            made = numbers(event.occurred_at, item, mu, history, user.totals, cosines, facts, table)
            item_row = table.row_of(item_key(event.item_id))
            return _Row(place, made, text, 0 if item_row < 0 else item_row + first_row, *windowed)

        windowed = self._window(event, history, past_texts)
        self._rows.append(row(item, table.facts(event.item_id), self._first_row))
        if self._random.random() < self._settings.unseen_share:
            unseen = self._fitted.unseen
            self._unseen.append(
                row(NO_ITEM, unseen.facts(event.item_id), self._first_row + len(table.vectors))
            )

    def _window(
        self, event: BehaviorEvent, history: History, past_texts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
        """Return a row's past_text, past_item and past."""
        size = self._settings.kept
        kept = min(len(history), size)
        newest = slice(len(history) - kept, None)
        texts, items = np.full(size, -1, np.int32), np.zeros(size, np.int32)
        past = np.zeros((size, PAST_COLUMNS), np.float32)
        rows = self._fitted.table.rows_of(history.items[newest])
        texts[:kept] = past_texts[newest][::-1]
        items[:kept] = np.where(rows < 0, 0, rows + self._first_row)[::-1]
        gaps = np.log1p(np.maximum(event.occurred_at / 1000 - history.at_s, 0))
        past[:kept] = np.stack((history.known, history.z, history.residual, gaps), axis=1)[newest][::-1]
        return texts, items, past

    def _learn(self, waiting: _Waiting) -> None:
        event, outcome = waiting.event, waiting.outcome
        partition, user = self._settings.partition_of(event.user_id), self._users[event.user_id]
        where = partition, event.item_id
        mean = self._means[partition]
        index = waiting.place - user.dropped
        past = user.pasts[index] if index >= 0 else Past(event.occurred_at, event.item_id)
        learned = learn(
            past,
            outcome.y,
            outcome.z,
            item=self._items[where],
            totals=user.totals,
            mean=mean,
            own_mean=known_mean(user.pasts, mean.value),
        )
        user.totals, self._means[partition] = learned.totals, learned.mean
        if index >= 0:
            user.pasts[index] = learned.past
        if self._settings.counted(event.item_id):
            self._items[where] = learned.item
            above_mean = learned.past.z - mean.value
            self._fitting.add(event.user_id, event.item_id, learned.past.residual, above_mean)

    def _refit(self, place: int) -> None:
        settings = self._settings
        late = settings.refit_until is not None and place > settings.refit_until
        if not place or late or not settings.refit_rows or place % settings.refit_rows:
            return
        self._fitted = self._fitting.fit()
        self._first_row = sum(map(len, self._tables))
        self._tables += [self._fitted.table.vectors, self._fitted.unseen.vectors]
