"""What a model must beat: means over outcomes, drawn to the global mean while there are few. Pure.

A worker knows each outcome before the same person's next event, so the fair comparison is with means that go on
learning through the test, in the order of time ("so far"). Those that were fitted on the training part alone show what
a model gains that is trained once and told nothing more.
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
    """The mean outcome of a key so far, drawn to the global mean while it has few.

    weight: how many outcomes at the global mean a new key starts with.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._sum = 0.0
        self._count = 0

    @property
    def overall(self) -> float:
        """The global mean so far; 0.5 before any outcome is known."""
        return self._sum / self._count if self._count else 0.5

    def predict(self, key: str) -> float:
        """Return the estimate for the key's next outcome, in [0, 1]; 0.5 before any is known."""
        return (self._sums[key] + self._weight * self.overall) / (self._counts[key] + self._weight)

    def learn(self, key: str, y: float) -> None:
        """Take in an outcome that has become known."""
        self._sums[key] += y
        self._counts[key] += 1
        self._sum += y
        self._count += 1


def baselines(train: Sequence[Example], test: Sequence[Example]) -> dict[str, FloatArray]:
    """Return each baseline's y_hat for the test, float64 (N,), by name, in the test's order.

    Those called "so far" go on learning through the test: each row's outcome becomes known after the row, rows in
    the order of time. Without train they begin at 0.5.
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
    """Tell items apart: by their id, or by their text where there is none."""
    return example.item_id or example.target
