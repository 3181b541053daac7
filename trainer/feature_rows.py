"""Training rows from labelled snapshots: numbers, and the newest behaviours of each window. No I/O.

Item vectors are fitted on the outcomes known so far and apply to later rows only, so no row reads its own label.

Source: docs/model.md.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.features.history import PAST_COLUMNS, History
from model.features.items import ITEM_DIMENSIONS, NO_ITEMS, ItemTable
from model.features.learning import ITEM_WEIGHT, grade_of
from model.features.snapshot import Snapshot, numbers_of
from model.features.state import NO_ITEM, as_float32
from trainer.item_vectors import Fitted, ItemVectors, merge_older
from trainer.snapshots import Labelled
from trainer.text_vectors import TextVectors

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RowSettings:
    """How snapshots become rows.

    kept: the number of newest behaviours of a window in a row.
    refit_rows: refit item vectors after this many rows; 0 never. refit_until: the last row at which to refit.
    counted: whether outcomes of an item enter the item vectors.
    mapped: whether a map from an item's text estimates what its outcomes do not determine.
    unseen_share: the share of rows that are duplicated with their item treated as unseen.
    """

    kept: int = 50
    refit_rows: int = 5_000
    refit_until: int | None = None
    counted: Callable[[str], bool] = lambda _item_id: True
    mapped: bool = True
    unseen_share: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRows:
    """N rows: one per event in order, then the duplicates with their item unseen.

    H is the number of past behaviours per row, newest first. of: int64 (N,), the event index of each row. events: the
    number of events.

    numbers: float32 (N, F). y, z: float32 (N,); an unknown z is the grade. users, items: str (N,).
    text, item: int32 (N,), row indices into the text vectors and item_vectors. past_text, past_item: int32 (N, H), the
    same for the past; padded with -1 and 0. past: float32 (N, H, 4): known, grade, residual, log gap.
    item_vectors: float32 (V, 32), of all fits; row 0 is the unknown item, zeros.
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
        """Return the row indices of events first to last - 1; unseen: include the duplicates."""
        chosen = (self.of >= first) & (self.of < last)
        if not unseen:
            chosen[self.events :] = False
        return np.flatnonzero(chosen)


class _Known(NamedTuple):
    """An outcome that is not in the item vectors yet. place: a unique tie-breaker for the heap."""

    known_at_ms: int
    place: int
    user: str
    item: int
    residual: float
    above_mean: float


class _Row(NamedTuple):
    """One row of FeatureRows; of: its event index."""

    of: int
    numbers: Floats
    text: int
    item: int
    past_text: NDArray[np.int32]
    past_item: NDArray[np.int32]
    past: Floats


def feature_rows(
    labelled: Iterable[Labelled],
    texts: TextVectors,
    settings: RowSettings | None = None,
    *,
    progress: Callable[[int], None] = lambda _done: None,
) -> FeatureRows:
    """Return the rows of labelled snapshots, ordered by time.

    texts: a vector for the text of each scored behaviour. Past texts without a vector count as empty.
    progress: called with the number of snapshots processed.
    """
    maker = RowMaker(texts, settings)
    for done, one in enumerate(labelled, 1):
        maker.take(one)
        progress(done)
    return maker.rows()


class _Placed(NamedTuple):
    """The current item tables, and the index of each table's first row among all item vectors."""

    table: ItemTable = NO_ITEMS
    first: int = 0
    unseen: ItemTable = NO_ITEMS
    first_unseen: int = 0


class RowMaker:
    """Builds rows one at a time and refits item vectors along the way.

    start: the item table of an earlier checkpoint; each fit is rotated onto it. start_until_ms: the time by which all
    outcomes in it were known. Later rows also read that table. None: no row reads it.
    """

    def __init__(
        self,
        texts: TextVectors,
        settings: RowSettings | None = None,
        *,
        start: ItemTable = NO_ITEMS,
        start_until_ms: int | None = None,
    ) -> None:
        self._settings = settings or RowSettings()
        self._texts = texts
        # A heap, because outcomes need not become known in the order of their events.
        self._pending: list[_Known] = []
        self._fitting = ItemVectors(texts.by_item() if self._settings.mapped else {}, start=start)
        self._start, self._start_until_ms = start, start_until_ms
        self._tables = [np.zeros((1, ITEM_DIMENSIONS), np.float32)]
        self._placed = _Placed()
        self._later = self._placed if start_until_ms is None else _Placed(start, self._place(start))
        self._labels: list[tuple[float, float]] = []
        self._names: list[tuple[str, str]] = []
        self._rows: list[_Row] = []
        self._unseen: list[_Row] = []
        self._random = np.random.default_rng(0)

    def take(self, labelled: Labelled) -> None:
        """Append the row of a snapshot, computed with the outcomes known at its time."""
        snapshot = labelled.snapshot
        while self._pending and self._pending[0].known_at_ms <= snapshot.at_ms:
            self._learn(heappop(self._pending))
        self._refit(len(self._rows))
        self._make(snapshot)
        self._names.append((labelled.user_id, labelled.item_id))
        grade = grade_of(labelled.y, labelled.z)
        self._labels.append((labelled.y, grade))
        if self._settings.counted(labelled.item_id):
            heappush(self._pending, _known(labelled, grade, len(self._labels)))

    def fit_all(self) -> Fitted:
        """Fit item vectors on all outcomes, for a checkpoint. Call it after the last take()."""
        while self._pending:
            self._learn(heappop(self._pending))
        return self._fitting.fit()

    def rows(self) -> FeatureRows:
        """Return all rows so far."""
        made = [*self._rows, *self._unseen]
        of = np.array([row.of for row in made], np.int64)
        y, z = np.array(self._labels, np.float32).T
        users, items = (np.array(names) for names in zip(*self._names, strict=True))
        return FeatureRows(
            np.stack([row.numbers for row in made]),
            y[of],
            z[of],
            users[of],
            items[of],
            np.array([row.text for row in made], np.int32),
            np.array([row.item for row in made], np.int32),
            np.stack([row.past_text for row in made]),
            np.stack([row.past_item for row in made]),
            np.stack([row.past for row in made]),
            np.concatenate(self._tables),
            of,
            len(self._rows),
        )

    def _make(self, snapshot: Snapshot) -> None:
        is_later = self._start_until_ms is not None and snapshot.at_ms > self._start_until_ms
        placed = self._later if is_later else self._placed
        own = int(self._texts.rows_of(_keys(snapshot.text_key))[0])
        past_rows = self._texts.rows_of(snapshot.past["text"])
        cosines = self._texts.cosines(own, past_rows)
        windowed = self._window(snapshot, past_rows, placed)
        row, place = placed.table.row_of(snapshot.item_key), len(self._rows)
        made = numbers_of(snapshot, cosines, placed.table.facts_of_row(row), placed.table)
        self._rows.append(_Row(place, made, own, 0 if row < 0 else row + placed.first, *windowed))
        if self._random.random() >= self._settings.unseen_share:
            return
        row = placed.unseen.row_of(snapshot.item_key)
        unseen = replace(snapshot, item=NO_ITEM)
        made = numbers_of(unseen, cosines, placed.unseen.facts_of_row(row), placed.table)
        self._unseen.append(_Row(place, made, own, 0 if row < 0 else row + placed.first_unseen, *windowed))

    def _window(
        self, snapshot: Snapshot, past_rows: NDArray[np.int64], placed: _Placed
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
        """Return past_text, past_item and past of one row."""
        size = self._settings.kept
        newest = slice(max(0, len(past_rows) - size), None)
        history = History.of(snapshot.past[newest])
        kept = len(history)
        texts, items = np.full(size, -1, np.int32), np.zeros(size, np.int32)
        past = np.zeros((size, PAST_COLUMNS), np.float32)
        rows = placed.table.rows_of(history.items)
        texts[:kept] = past_rows[newest][::-1]
        items[:kept] = np.where(rows < 0, 0, rows + placed.first)[::-1]
        gaps = np.log1p(np.maximum(snapshot.at_ms / 1000 - history.at_s, 0))
        past[:kept] = np.stack((history.known, history.z, history.residual, gaps), axis=1)[::-1]
        return texts, items, past

    def _learn(self, known: _Known) -> None:
        self._fitting.add(known.user, known.item, known.residual, known.above_mean)

    def _refit(self, place: int) -> None:
        settings = self._settings
        late = settings.refit_until is not None and place > settings.refit_until
        if not place or late or not settings.refit_rows or place % settings.refit_rows:
            return
        fitted = self._fitting.fit()
        self._placed = _Placed(
            fitted.table, self._place(fitted.table), fitted.unseen, self._place(fitted.unseen)
        )
        self._later = self._placed
        if self._start_until_ms is not None:
            table = merge_older(fitted.table, self._start)
            self._later = self._placed._replace(table=table, first=self._place(table))

    def _place(self, table: ItemTable) -> int:
        """Append a table's vectors; return the index of its first row."""
        first = sum(map(len, self._tables))
        self._tables.append(table.vectors)
        return first


def _known(labelled: Labelled, grade: float, place: int) -> _Known:
    """Return an outcome's contribution to the item vectors, from what was known at scoring time."""
    snapshot = labelled.snapshot
    bias = snapshot.item.above_mean / (snapshot.item.outcomes + ITEM_WEIGHT)
    residual = as_float32(grade - snapshot.mu - bias)  # rounded as in a window
    above_mean = as_float32(grade) - snapshot.mu
    return _Known(labelled.known_at_ms, place, labelled.user_id, snapshot.item_key, residual, above_mean)


def _keys(key: int) -> NDArray[np.uint64]:
    return np.array([key], np.uint64)
