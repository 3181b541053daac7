"""How good scores are. Pure.

Source: DESIGN section 8.
"""

import numpy as np
from numpy.typing import NDArray


def auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: how often a positive is scored above a negative, ties half.

    scores, positive: (N,). NaN if all are positive or none is.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # of each distinct score: the mean of its places, from 1
    return float((ranks[inverse][positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
