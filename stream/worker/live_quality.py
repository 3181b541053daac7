"""Live quality: how good the published scores are, by the labels that have come since. Pure.

Prequential: an estimate is judged by an outcome that came after it, before any model could learn from that outcome
(A. P. Dawid, 1984, "The prequential approach", J. R. Stat. Soc. A 147). Over a sliding window for each model version.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator

import numpy as np

from model.metrics import auc, calibration_error, log_loss, mse, positive_rate

WINDOW = 2_000
_VERSIONS = 8  # the newest; a worker that swaps for years must not keep them all


class LiveQuality:
    """The newest labelled estimates of each model version.

    window: how many of a version are kept.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._rows: OrderedDict[str, deque[tuple[float, float]]] = OrderedDict()
        self._counts: dict[str, int] = {}
        self._changed: set[str] = set()
        self._serving: str | None = None

    def serve(self, version: str) -> None:
        """Note the version in use: it is never left out. May be called on any thread."""
        self._serving = version

    def add(self, version: str, y: float, y_hat: float) -> None:
        """Take in an example: what was published, and what came."""
        rows = self._rows.get(version)
        if rows is None:
            rows = self._rows[version] = deque(maxlen=self._window)
            self._counts[version] = 0
            # Labels of old versions come late: they must not push out the one in use.
            if self._serving is not None and self._serving in self._rows:
                self._rows.move_to_end(self._serving)
            while len(self._rows) > _VERSIONS:
                oldest, _ = self._rows.popitem(last=False)
                del self._counts[oldest]
        rows.append((y, y_hat))
        self._counts[version] += 1
        self._changed.add(version)

    @property
    def versions(self) -> list[str]:
        """The versions that are kept, by their first example; the one in use is the last to leave."""
        return list(self._rows)

    def changed(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Yield the figures of each version with new examples since the last call; what is undefined is left out."""
        changed, self._changed = self._changed, set()
        for version in changed & self._rows.keys():
            y, y_hat = np.array(self._rows[version], np.float64).T
            figures = {
                "auc": auc(y_hat, y >= 0.5),
                "mse": mse(y_hat, y),
                "log_loss": log_loss(y_hat, y),
                "calibration_error": calibration_error(y_hat, y),
                "positive_rate": positive_rate(y >= 0.5),
                "examples": float(self._counts[version]),
            }
            yield version, {name: value for name, value in figures.items() if np.isfinite(value)}
