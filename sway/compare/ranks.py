"""Rank correlation over all rows or within groups, vectorised over the groups."""

import numpy as np
from numpy.typing import NDArray

from model.metrics import FloatArray, ranks_by_group

Groups = NDArray[np.int64]


def spearman(x: FloatArray, y: FloatArray) -> float:
    """Return Spearman's correlation of two columns; equal values get their mean rank.

    x, y: (N,), without NaN. Returns NaN if either has fewer than two distinct values.
    """
    if not len(x):
        return float("nan")
    return float(spearman_by_group(x, y, np.zeros(len(x), np.int64))[0])


def spearman_by_group(x: FloatArray, y: FloatArray, groups: Groups) -> FloatArray:
    """Return the correlation in each group, float64 (G,); NaN where a column has fewer than two distinct values.

    groups: (N,), the group of each row, 0 to G - 1.
    Source: C. Spearman, 1904, "The Proof and Measurement of Association between Two Things": Pearson's
    correlation of ranks.
    """
    sizes = np.bincount(groups)
    rank_x, rank_y = _centred_ranks(x, groups, sizes), _centred_ranks(y, groups, sizes)
    spread_x = np.bincount(groups, rank_x**2)
    spread_y = np.bincount(groups, rank_y**2)
    # 0 / 0 gives NaN for a column of equal values.
    with np.errstate(invalid="ignore"):
        found: FloatArray = np.bincount(groups, rank_x * rank_y) / np.sqrt(spread_x * spread_y)
    return found


def _centred_ranks(values: FloatArray, groups: Groups, sizes: Groups) -> FloatArray:
    """Return the rank of each row in its group minus the mean rank, float64 (N,)."""
    centred: FloatArray = ranks_by_group(values, groups) - ((sizes + 1) / 2)[groups]
    return centred
