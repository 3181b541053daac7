"""Grouping of examples by the text of the scored behaviour, without the history.

Few of these texts are distinct, and the squared error of rows with equal text has the same minimum as that of their
mean:

    sum_i (f - y_i)^2 = n (f - mean y)^2 + constant

Ten thousand examples become a thousand short texts, with mean labels and counts as weights. An epoch over them takes
seconds instead of minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import Example, labels


@dataclass(frozen=True, slots=True)
class DistinctTargets:
    """M distinct targets of N examples.

    targets: their texts, sorted. labels: float32 (M, 2), the means of y and z; z is NaN if no z is known.
    counts: float32 (M,), the number of examples of each. of_example: int64 (N,), the target index of each example.
    """

    targets: list[str]
    labels: NDArray[np.float32]
    counts: NDArray[np.float32]
    of_example: NDArray[np.int64]


def distinct_targets(examples: Sequence[Example]) -> DistinctTargets:
    """Group examples by the text of their target."""
    texts, index = np.unique([example.target for example in examples], return_inverse=True)
    wanted = labels(examples)
    known = np.isfinite(wanted)  # (N, 2)
    sums = np.zeros((len(texts), 2))
    counts = np.zeros((len(texts), 2))
    np.add.at(sums, index, np.where(known, wanted, 0.0))
    np.add.at(counts, index, known)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, which means unknown
        means = (sums / counts).astype(np.float32)
    return DistinctTargets(texts.tolist(), means, np.bincount(index).astype(np.float32), index)
