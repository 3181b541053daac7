"""What a score must beat: means over the outcomes that were known so far. Pure."""

from collections import defaultdict


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

    def predict(self, key: str) -> float:
        """Return the estimate for the key's next outcome, in [0, 1]; 0.5 before any is known."""
        overall = self._sum / self._count if self._count else 0.5
        return (self._sums[key] + self._weight * overall) / (self._counts[key] + self._weight)

    def learn(self, key: str, y: float) -> None:
        """Take in an outcome that has become known."""
        self._sums[key] += y
        self._counts[key] += 1
        self._sum += y
        self._count += 1
