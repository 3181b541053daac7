"""Item vectors from co-occurring residuals, and a map from text vectors for items without outcomes.

    w_ij = S_ij / sqrt(V_i V_j) * C_ij / (C_ij + 30)      W ~ V V'    V of (M, 32)

S_ij: the sum over users of the product of their residuals for items i and j. V_i: the item's sum of squared residuals.
C_ij: the number of users with both items. The vectors are the leading eigenvectors of W, scaled by the square roots of
their eigenvalues, so the product of two vectors approximates w_ij.

A fit on the outcomes known at some time is used for later behaviours only (trainer.feature_rows), so no row reads its
own label. Each fit is rotated onto the previous one, so that one network can read vectors of all fits.

Source: B. Sarwar et al., 2001, "Item-based Collaborative Filtering Recommendation Algorithms", WWW (similarity by
residuals); P. Schönemann, 1966, "A generalized solution of the orthogonal Procrustes problem" (the rotation).
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import eigsh

from model.features.items import ITEM_DIMENSIONS, NO_ITEMS, ItemMap, ItemTable
from model.features.learning import ITEM_WEIGHT
from trainer.mapped_ridge import Ridge

FloatArray = NDArray[np.float64]

_MIN_TO_MAP = 50


@dataclass(frozen=True, slots=True)
class ItemVectorSettings:
    """Shrinkage and limits of a fit.

    count_weight: the number of common users at which a similarity is halved.
    mapped_weight: the number of outcomes at which the estimate from an item's text is halved. least_outcomes: the
    minimum number of outcomes for a vector from outcomes. most_of_a_user: the maximum number of outcomes of one user
    in the similarities, the newest; the cost of a fit grows with their pairs.
    """

    count_weight: float = 30.0
    mapped_weight: float = 20.0
    least_outcomes: int = 3
    most_of_a_user: int = 1_000


class Fitted(NamedTuple):
    """The result of a fit.

    table: all items, from outcomes and texts. unseen: the same items estimated from their texts alone, as if they had
    no outcomes. map: estimates an item from any text; None if too few items have both a text and outcomes.
    """

    table: ItemTable
    unseen: ItemTable
    map: ItemMap | None = None


class ItemVectors:
    """Accumulates outcomes in the order in which they become known, and fits item tables on them.

    texts: text vectors by item key, all of the same width; items without one are not mapped.
    start: the table of an earlier checkpoint; each fit is rotated onto it.
    """

    def __init__(
        self,
        texts: Mapping[int, NDArray[np.float32]],
        settings: ItemVectorSettings | None = None,
        *,
        start: ItemTable = NO_ITEMS,
    ) -> None:
        self._settings = settings or ItemVectorSettings()
        self._texts = texts
        self._users: defaultdict[Hashable, int] = defaultdict(lambda: len(self._users))
        self._items: defaultdict[int, int] = defaultdict(lambda: len(self._items))
        self._seen: list[tuple[int, int, float, float]] = []
        self._start = start
        self._last: FloatArray | None = None

    def add(self, user: Hashable, item: int, residual: float, above_mean: float) -> None:
        """Add an outcome.

        item: its key; key 0 is ignored. residual: the grade minus mean and item bias. above_mean: the grade minus the
        overall mean.
        """
        if item:
            self._seen.append((self._users[user], self._items[item], residual, above_mean))

    def fit(self) -> Fitted:
        """Fit tables of all items that have outcomes so far or a text."""
        if not self._seen:
            return Fitted(NO_ITEMS, NO_ITEMS)
        users, items = np.array([row[:2] for row in self._seen], np.int64).T
        residuals, above = np.array([row[2:] for row in self._seen], np.float64).T
        counts, sums = (
            _summed(items, part, len(self._items)) for part in (np.ones(len(items)), above)
        )  # (M,)
        newest = _newest(users, self._settings.most_of_a_user)
        w = _similarity(users[newest], items[newest], residuals[newest], len(counts), self._settings)
        self._last = self._rotated(_factors(w, counts, self._settings))
        keys = [*self._items, *(key for key in self._texts if key not in self._items)]
        mapped = self._mapped(keys, self._last, sums, counts)
        new = len(keys) - len(counts)
        counts, sums = np.append(counts, np.zeros(new)), np.append(sums, np.zeros(new))
        vectors = np.concatenate([self._last, np.zeros((new, ITEM_DIMENSIONS))])
        share = self._settings.mapped_weight / (counts + self._settings.mapped_weight)  # (M',)
        vectors += share[:, None] * mapped.rows[:, :-1]
        biases = (sums + ITEM_WEIGHT * mapped.rows[:, -1]) / (counts + ITEM_WEIGHT)
        return Fitted(
            _table(keys, vectors, biases, counts),
            _table(keys, mapped.rows[:, :-1], mapped.rows[:, -1], np.zeros(len(keys))),
            mapped.map,
        )

    def _rotated(self, vectors: FloatArray) -> FloatArray:
        """Rotate onto the previous fit and the start's table, over the items that each shares with this fit.

        The start's table is included because its rows are used beside later fits, which would otherwise drift away
        from it.
        """
        rows = self._start.rows_of(np.array(list(self._items), np.uint64))
        onto, turned = self._start.vectors[rows[rows >= 0]].astype(np.float64), vectors[rows >= 0]
        if self._last is not None:
            onto = np.concatenate([self._last, onto])
            turned = np.concatenate([vectors[: len(self._last)], turned])
        if not len(onto):
            return vectors
        left, _, right = np.linalg.svd(turned.T @ onto)
        rotated: FloatArray = vectors @ (left @ right)
        return rotated

    def _mapped(
        self, keys: Sequence[int], vectors: FloatArray, sums: FloatArray, counts: FloatArray
    ) -> "_Mapped":
        """Return the estimates of vectors and biases from texts; for a known item, the leave-one-out estimate.

        keys: the known items first. vectors: (M, 32). sums, counts: (M,).
        """
        mapped = _Mapped(np.zeros((len(keys), ITEM_DIMENSIONS + 1)), None)
        places = np.array([place for place, key in enumerate(keys) if key in self._texts], np.int64)
        known = places[places < len(counts)]
        if len(known) < _MIN_TO_MAP:
            return mapped
        x = np.stack([self._texts[keys[place]] for place in places]).astype(np.float64)
        weights = counts[known] / (counts[known] + ITEM_WEIGHT)
        biases = (sums[known] / counts[known])[:, None]
        ridges, fitting = [], Ridge(x[: len(known)], weights)
        for part, target in ((slice(0, -1), vectors[known]), (slice(-1, None), biases)):
            ridge = fitting.fit(target)
            mapped.rows[places, part] = ridge.predict(x)
            mapped.rows[known, part] = ridge.left_out
            ridges.append(ridge)
        return mapped._replace(
            map=ItemMap(
                np.concatenate([ridge.weights for ridge in ridges], axis=1).astype(np.float32),
                ridges[0].x_mean.astype(np.float32),
                np.concatenate([ridge.t_mean for ridge in ridges]).astype(np.float32),
            )
        )


class _Mapped(NamedTuple):
    """Estimates from texts: rows, (M', 33), vectors with the bias last; and the map that computes them."""

    rows: FloatArray
    map: ItemMap | None


def merge_older(table: ItemTable, older: ItemTable, most: int | None = None) -> ItemTable:
    """Merge two tables; for each item, take the older row if only it exists or it counts more outcomes.

    older: the table that the new one was rotated onto. most: the maximum number of items, those with the most outcomes;
    None for all.
    """
    # Counts are compared, not added: an older outcome may be counted in the new table already.
    rows = table.rows_of(older.keys)
    better = (rows < 0) | (older.log_outcomes[:-1] > table.log_outcomes[rows])
    kept = ~np.isin(table.keys, older.keys[better])
    keys = np.concatenate([table.keys[kept], older.keys[better]])
    parts = [
        np.concatenate([new[:-1][kept], old[:-1][better]])
        for new, old in zip(_columns(table), _columns(older), strict=True)
    ]
    chosen = np.argsort(-parts[2], kind="stable")[:most]
    order = chosen[np.argsort(keys[chosen])]
    vectors, bias, log_outcomes = (
        np.concatenate([part[order], new[-1:]]) for part, new in zip(parts, _columns(table), strict=True)
    )
    return ItemTable(keys[order], vectors, bias, log_outcomes)


def restrict(table: ItemTable, keys: NDArray[np.uint64]) -> ItemTable:
    """Return the table restricted to some items."""
    rows = np.flatnonzero(np.isin(table.keys, keys))
    with_unknown = np.append(rows, len(table.keys))
    return ItemTable(table.keys[rows], *(column[with_unknown] for column in _columns(table)))


def _columns(table: ItemTable) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    return table.vectors, table.bias, table.log_outcomes


def _newest(users: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the indices of the newest outcomes of each user, at most `most` per user, ascending."""
    order = np.argsort(users, kind="stable")
    counts = np.bincount(users)
    ends = np.repeat(np.cumsum(counts), counts)  # in the order by user
    found: NDArray[np.int64] = np.sort(order[ends - np.arange(len(users)) <= most])
    return found


def _summed(places: NDArray[np.int64], values: FloatArray, size: int) -> FloatArray:
    """Return the sum of the values per place, (size,)."""
    return np.bincount(places, values, size).astype(np.float64)


def _table(keys: Sequence[int], vectors: FloatArray, biases: FloatArray, counts: FloatArray) -> ItemTable:
    """Return the table of some columns, with the row of the unknown item at the end."""
    ascending = np.array(keys, np.uint64)
    order = np.argsort(ascending)
    return ItemTable(
        ascending[order],
        np.concatenate([vectors[order], np.zeros((1, ITEM_DIMENSIONS))]).astype(np.float32),
        np.append(biases[order], 0).astype(np.float32),
        np.log1p(np.append(counts[order], 0)).astype(np.float32),
    )


def _similarity(
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    residuals: FloatArray,
    count: int,
    settings: ItemVectorSettings,
) -> csr_matrix:
    """Return w, sparse (M, M) for M = count items, with a zero diagonal."""
    shape = int(users.max()) + 1, count
    r = csr_matrix((residuals, (users, items)), shape)  # sums several outcomes of one pair
    seen = csr_matrix((np.ones(len(users)), (users, items)), shape)
    seen.data[:] = 1.0
    products, common = (r.T @ r).tocsr(), (seen.T @ seen).tocsr()
    scale = diags(1 / np.sqrt(np.maximum(products.diagonal(), 1e-12)))
    shrunk = common.copy()
    shrunk.data = common.data / (common.data + settings.count_weight)
    w = (scale @ products @ scale).multiply(shrunk).tocsr()
    w.setdiag(0)
    w.eliminate_zeros()
    return w


def _factors(w: csr_matrix, counts: FloatArray, settings: ItemVectorSettings) -> FloatArray:
    """Return vectors (M, 32) whose products approximate w; zeros for items with too few outcomes."""
    vectors = np.zeros((len(counts), ITEM_DIMENSIONS))
    rows = np.flatnonzero(counts >= settings.least_outcomes)
    rank = min(ITEM_DIMENSIONS, len(rows) - 1)
    if rank < 1:
        return vectors
    among = w[rows][:, rows]
    if not among.nnz:  # no two items share a user; ARPACK fails on a zero matrix
        return vectors
    random = np.random.default_rng(0)  # makes ARPACK's restarts deterministic
    values, found = eigsh(among, k=rank, which="LA", v0=np.ones(len(rows)), rng=random)
    kept = values[::-1] > 0
    vectors[np.ix_(rows, np.flatnonzero(kept))] = (found * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, kept]
    return vectors
