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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import eigsh

from model.features.items import ITEM_DIMENSIONS, NO_ITEMS, ItemMap, ItemTable
from model.features.keys import item_key
from model.features.learning import ITEM_WEIGHT
from trainer.mapped_ridge import fit_ridge

FloatArray = NDArray[np.float64]

_LEAST_TO_MAP = 50


@dataclass(frozen=True, slots=True)
class ItemVectorSettings:
    """count_weight: users in common at which a similarity counts half.

    mapped_weight: outcomes at which what an item's text says of its vector counts half. least_outcomes: of an item that
    gets a vector of its own.
    """

    count_weight: float = 30.0
    mapped_weight: float = 20.0
    least_outcomes: int = 3


class Fitted(NamedTuple):
    """table: of all items as they are known. unseen: of the same as if each had no outcomes: what its text says.

    map: from a text vector to what it says; None where there are too few items with texts.
    """

    table: ItemTable
    unseen: ItemTable
    map: ItemMap | None = None


class ItemVectors:
    """Takes in outcomes in the order in which they become known, and fits a table of what is known so far.

    texts: text vectors by item id, all of one width; items without one are not mapped.
    """

    def __init__(
        self, texts: Mapping[str, NDArray[np.float32]], settings: ItemVectorSettings | None = None
    ) -> None:
        self._settings = settings or ItemVectorSettings()
        self._texts = texts
        self._users: defaultdict[str, int] = defaultdict(lambda: len(self._users))
        self._items: defaultdict[str, int] = defaultdict(lambda: len(self._items))
        self._seen: list[tuple[int, int, float, float]] = []
        self._last: FloatArray | None = None

    def add(self, user_id: str, item_id: str, residual: float, above_mean: float) -> None:
        """Take in an outcome. residual: net of the item's bias; above_mean: its grade less the mean of all."""
        if item_id:
            self._seen.append((self._users[user_id], self._items[item_id], residual, above_mean))

    def fit(self) -> Fitted:
        """Return tables of all items that have outcomes so far, and of those that have a text only."""
        if not self._seen:
            return Fitted(NO_ITEMS, NO_ITEMS)
        users, items = np.array([row[:2] for row in self._seen], np.int64).T
        residuals, above = np.array([row[2:] for row in self._seen], np.float64).T
        counts, sums = (
            _summed(items, part, len(self._items)) for part in (np.ones(len(items)), above)
        )  # (M,)
        found = _factors(_similarity(users, items, residuals, self._settings), counts, self._settings)
        self._last = self._rotated(found)
        ids = [*self._items, *(item_id for item_id in self._texts if item_id not in self._items)]
        mapped, item_map = self._mapped(ids, self._last, sums, counts)  # (M', 33): vectors, and biases last
        new = len(ids) - len(counts)
        counts, sums = np.append(counts, np.zeros(new)), np.append(sums, np.zeros(new))
        vectors = np.concatenate([self._last, np.zeros((new, ITEM_DIMENSIONS))])
        said = self._settings.mapped_weight / (counts + self._settings.mapped_weight)  # (M',)
        vectors += said[:, None] * mapped[:, :-1]
        biases = (sums + ITEM_WEIGHT * mapped[:, -1]) / (counts + ITEM_WEIGHT)
        return Fitted(
            _table(ids, vectors, biases, counts),
            _table(ids, mapped[:, :-1], mapped[:, -1], np.zeros(len(ids))),
            item_map,
        )

    def _rotated(self, vectors: FloatArray) -> FloatArray:
        """Rotate onto the fit before, over the items that both have."""
        if self._last is None:
            return vectors
        left, _, right = np.linalg.svd(vectors[: len(self._last)].T @ self._last)
        rotated: FloatArray = vectors @ (left @ right)
        return rotated

    def _mapped(
        self, ids: Sequence[str], vectors: FloatArray, sums: FloatArray, counts: FloatArray
    ) -> tuple[FloatArray, ItemMap | None]:
        """Return what the texts of all items say of vectors and biases, (M', 33), and how they say it.

        Of a known item only the others' texts speak. ids: the known items first. vectors: (M, 32). sums, counts: (M,).
        """
        mapped = np.zeros((len(ids), ITEM_DIMENSIONS + 1))
        places = np.array([place for place, item_id in enumerate(ids) if item_id in self._texts], np.int64)
        known = places[places < len(counts)]
        if len(known) < _LEAST_TO_MAP:
            return mapped, None
        x = np.stack([self._texts[ids[place]] for place in places]).astype(np.float64)
        weights = counts[known] / (counts[known] + ITEM_WEIGHT)
        biases = (sums[known] / counts[known])[:, None]
        ridges = []
        for part, target in ((slice(0, -1), vectors[known]), (slice(-1, None), biases)):
            ridge = fit_ridge(x[: len(known)], target, weights)
            mapped[places, part] = ridge.predict(x)
            mapped[known, part] = ridge.left_out
            ridges.append(ridge)
        return mapped, ItemMap(
            np.concatenate([ridge.weights for ridge in ridges], axis=1).astype(np.float32),
            ridges[0].x_mean.astype(np.float32),
            np.concatenate([ridge.t_mean for ridge in ridges]).astype(np.float32),
        )


def _summed(places: NDArray[np.int64], values: FloatArray, size: int) -> FloatArray:
    """Return the sum of the values at each place, (size,)."""
    return np.bincount(places, values, size).astype(np.float64)


def _table(ids: Sequence[str], vectors: FloatArray, biases: FloatArray, counts: FloatArray) -> ItemTable:
    """Put columns into a table in the order of keys, with the row of the unknown at the end."""
    keys = np.array([item_key(item_id) for item_id in ids], np.uint64)
    order = np.argsort(keys)
    return ItemTable(
        keys[order],
        np.concatenate([vectors[order], np.zeros((1, ITEM_DIMENSIONS))]).astype(np.float32),
        np.append(biases[order], 0).astype(np.float32),
        np.log1p(np.append(counts[order], 0)).astype(np.float32),
    )


def _similarity(
    users: NDArray[np.int64], items: NDArray[np.int64], residuals: FloatArray, settings: ItemVectorSettings
) -> csr_matrix:
    """Return w, sparse (M, M), its diagonal 0."""
    shape = int(users.max()) + 1, int(items.max()) + 1
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
    values, found = eigsh(w[rows][:, rows], k=rank, which="LA", v0=np.ones(len(rows)))
    kept = values[::-1] > 0
    vectors[np.ix_(rows, np.flatnonzero(kept))] = (found * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, kept]
    return vectors
