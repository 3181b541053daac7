"""Baselines: mean outcomes, shrunk towards the global mean. No I/O.

A worker knows each outcome before the same user's next event, so the fair comparison is with means that are updated
through the test data, ordered by time ("so far"). The means fitted on the training data alone are the comparison for a
model that is trained once and receives no outcomes afterwards.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import Example

ITEM_WEIGHT = 5.0
USER_WEIGHT = 5.0

FloatArray = NDArray[np.float64]


class MeanSoFar:
    """A running mean outcome per key, shrunk towards the global mean.

    weight: the number of pseudo-outcomes at the global mean per key.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._sum = 0.0
        self._count = 0

    @property
    def overall(self) -> float:
        """The global mean so far; 0.5 before the first outcome."""
        return self._sum / self._count if self._count else 0.5

    def predict(self, key: str) -> float:
        """Return the estimate for the key's next outcome, in [0, 1]; 0.5 before the first outcome."""
        return (self._sums[key] + self._weight * self.overall) / (self._counts[key] + self._weight)

    def learn(self, key: str, y: float) -> None:
        """Update the means with an outcome."""
        self._sums[key] += y
        self._counts[key] += 1
        self._sum += y
        self._count += 1


def baselines(train: Sequence[Example], test: Sequence[Example]) -> dict[str, FloatArray]:
    """Return each baseline's y_hat for the test examples, float64 (N,), by name, in their order.

    Those named "so far" are updated through the test examples, ordered by time: each outcome is known after its row.
    Without training examples they start at 0.5.
    """
    return {
        "global mean": _predict(train, test, lambda _: "", 1.0, learning=False),
        "user mean": _predict(train, test, lambda example: example.user_id, USER_WEIGHT, learning=False),
        "item mean": _predict(train, test, _item, ITEM_WEIGHT, learning=False),
        "user mean so far": _predict(
            train, test, lambda example: example.user_id, USER_WEIGHT, learning=True
        ),
        "item mean so far": _predict(train, test, _item, ITEM_WEIGHT, learning=True),
    }


def _predict(
    train: Sequence[Example],
    test: Sequence[Example],
    key: Callable[[Example], str],
    weight: float,
    *,
    learning: bool,
) -> FloatArray:
    means = MeanSoFar(weight)
    for example in train:
        means.learn(key(example), example.y)
    predicted = np.empty(len(test))
    for row in sorted(range(len(test)), key=lambda row: test[row].occurred_at):
        example = test[row]
        predicted[row] = means.predict(key(example))
        if learning:
            means.learn(key(example), example.y)
    return predicted


def _item(example: Example) -> str:
    """Return the key of an item: its id, or its text if it has no id."""
    return example.item_id or example.target
