"""Item vectors from the co-occurrence of residuals, and a map from text vectors for items without outcomes.

    w_ij = S_ij / sqrt(V_i V_j) * C_ij / (C_ij + 30)      W ~ V V'    V of (M, 32)

S_ij: sum of products of the residuals that the same users have at items i and j. V_i: the item's sum of squares.
C_ij: how many users have both. The vectors are the leading eigenvectors of W times the roots of their eigenvalues, so a
product of two vectors approximates w.

What is fitted on outcomes known by some time is used for later behaviours only (trainer.feature_rows): no row's own
label is in its vectors. Successive fits are rotated onto each other, so that a network can read them.

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

_LEAST_TO_MAP = 50


@dataclass(frozen=True, slots=True)
class ItemVectorSettings:
    """count_weight: users in common at which a similarity counts half.

    mapped_weight: outcomes at which what an item's text says of its vector counts half. least_outcomes: of an item that
    gets a vector of its own. most_of_a_user: outcomes of one user that similarities are made of, the newest: their
    pairs are what a fit costs.
    """

    count_weight: float = 30.0
    mapped_weight: float = 20.0
    least_outcomes: int = 3
    most_of_a_user: int = 1_000


class Fitted(NamedTuple):
    """table: of all items as they are known. unseen: of the same as if each had no outcomes: what its text says.

    map: what any text says of an item; None where too few items with texts are known.
    """

    table: ItemTable
    unseen: ItemTable
    map: ItemMap | None = None


class ItemVectors:
    """Takes in outcomes in the order in which they become known, and fits a table of what is known so far.

    texts: text vectors by item key, all of one width; items without one are not mapped.
    start: the table of an earlier checkpoint, onto which each fit is rotated.
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
        """Take in an outcome. item: its key; residual: net of its bias; above_mean: its grade less the mean of all."""
        if item:
            self._seen.append((self._users[user], self._items[item], residual, above_mean))

    def fit(self) -> Fitted:
        """Return tables of all items that have outcomes so far, and of those that have a text only."""
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
        said = self._mapped(keys, self._last, sums, counts)
        new = len(keys) - len(counts)
        counts, sums = np.append(counts, np.zeros(new)), np.append(sums, np.zeros(new))
        vectors = np.concatenate([self._last, np.zeros((new, ITEM_DIMENSIONS))])
        share = self._settings.mapped_weight / (counts + self._settings.mapped_weight)  # (M',)
        vectors += share[:, None] * said.rows[:, :-1]
        biases = (sums + ITEM_WEIGHT * said.rows[:, -1]) / (counts + ITEM_WEIGHT)
        return Fitted(
            _table(keys, vectors, biases, counts),
            _table(keys, said.rows[:, :-1], said.rows[:, -1], np.zeros(len(keys))),
            said.map,
        )

    def _rotated(self, vectors: FloatArray) -> FloatArray:
        """Rotate onto the fit before and onto the start's table, over the items that each shares with this fit.

        Onto the fit before alone, many fits would drift from the start, and that table's rows are kept beside them.
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
    ) -> "_Said":
        """Return what the texts of all items say of vectors and biases; of a known item, the others' texts.

        keys: the known items first. vectors: (M, 32). sums, counts: (M,).
        """
        said = _Said(np.zeros((len(keys), ITEM_DIMENSIONS + 1)), None)
        places = np.array([place for place, key in enumerate(keys) if key in self._texts], np.int64)
        known = places[places < len(counts)]
        if len(known) < _LEAST_TO_MAP:
            return said
        x = np.stack([self._texts[keys[place]] for place in places]).astype(np.float64)
        weights = counts[known] / (counts[known] + ITEM_WEIGHT)
        biases = (sums[known] / counts[known])[:, None]
        ridges, fitting = [], Ridge(x[: len(known)], weights)
        for part, target in ((slice(0, -1), vectors[known]), (slice(-1, None), biases)):
            ridge = fitting.fit(target)
            said.rows[places, part] = ridge.predict(x)
            said.rows[known, part] = ridge.left_out
            ridges.append(ridge)
        return said._replace(
            map=ItemMap(
                np.concatenate([ridge.weights for ridge in ridges], axis=1).astype(np.float32),
                ridges[0].x_mean.astype(np.float32),
                np.concatenate([ridge.t_mean for ridge in ridges]).astype(np.float32),
            )
        )


class _Said(NamedTuple):
    """What texts say: rows, (M', 33), vectors with biases last; and the map that says it of any text."""

    rows: FloatArray
    map: ItemMap | None


def with_older(table: ItemTable, older: ItemTable, most: int | None = None) -> ItemTable:
    """Return a table with the rows of an older one where those know more: more outcomes of the item, or it at all.

    older: that onto which the table was rotated. most: items, those with most outcomes stay; None for all.
    """
    rows = table.rows_of(
        older.keys
    )  # the older outcomes are unknown to the new table, or counted in it already
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


def only(table: ItemTable, keys: NDArray[np.uint64]) -> ItemTable:
    """Return the rows of some items."""
    rows = np.flatnonzero(np.isin(table.keys, keys))
    with_unknown = np.append(rows, len(table.keys))
    return ItemTable(table.keys[rows], *(column[with_unknown] for column in _columns(table)))


def _columns(table: ItemTable) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    return table.vectors, table.bias, table.log_outcomes


def _newest(users: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the places of at most so many outcomes of each user, the newest, ascending."""
    order = np.argsort(users, kind="stable")
    counts = np.bincount(users)
    ends = np.repeat(np.cumsum(counts), counts)  # in the order by user
    found: NDArray[np.int64] = np.sort(order[ends - np.arange(len(users)) <= most])
    return found


def _summed(places: NDArray[np.int64], values: FloatArray, size: int) -> FloatArray:
    """Return the sum of the values at each place, (size,)."""
    return np.bincount(places, values, size).astype(np.float64)


def _table(keys: Sequence[int], vectors: FloatArray, biases: FloatArray, counts: FloatArray) -> ItemTable:
    """Put columns into a table, with the row of the unknown at the end."""
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
    """Return w, sparse (M, M) for M = count items, its diagonal 0."""
    shape = int(users.max()) + 1, count
    r = csr_matrix((residuals, (users, items)), shape)  # several outcomes of one pair add up
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
    """Return vectors (M, 32) whose products approximate w; items with too few outcomes get zeros."""
    vectors = np.zeros((len(counts), ITEM_DIMENSIONS))
    rows = np.flatnonzero(counts >= settings.least_outcomes)
    rank = min(ITEM_DIMENSIONS, len(rows) - 1)
    if rank < 1:
        return vectors
    among = w[rows][:, rows]
    if not among.nnz:  # no two have a user in common, which ARPACK takes for an error
        return vectors
    random = np.random.default_rng(0)  # for where ARPACK has to start anew; without one it takes the system's
    values, found = eigsh(among, k=rank, which="LA", v0=np.ones(len(rows)), rng=random)
    kept = values[::-1] > 0
    vectors[np.ix_(rows, np.flatnonzero(kept))] = (found * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, kept]
    return vectors
