"""Live quality: how well published scores predicted the labels that arrived later.

The evaluation is prequential: an estimate is compared with an outcome that came after it, before any model could learn
from that outcome (A. P. Dawid, 1984, "The prequential approach", J. R. Stat. Soc. A 147). It uses a sliding window per
model version.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator

import numpy as np

from model.metrics import auc, calibration_error, log_loss, mse, positive_rate

WINDOW = 2_000
_VERSIONS = 8  # the newest versions; bounds memory in a worker that swaps models for years


class LiveQuality:
    """The newest labelled estimates of each model version.

    window: number of estimates kept per version.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._rows: OrderedDict[str, deque[tuple[float, float]]] = OrderedDict()
        self._counts: dict[str, int] = {}
        self._changed: set[str] = set()
        self._serving: str | None = None

    def serve(self, version: str) -> None:
        """Set the version in use, which is always kept. Thread-safe."""
        self._serving = version

    def add(self, version: str, y: float, y_hat: float) -> None:
        """Add an example. y: its label. y_hat: the published estimate."""
        rows = self._rows.get(version)
        if rows is None:
            rows = self._rows[version] = deque(maxlen=self._window)
            self._counts[version] = 0
            # Labels of old versions arrive late and must not evict the version in use.
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
        """The versions kept, by their first example; the version in use is evicted last."""
        return list(self._rows)

    def changed(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Yield the metrics of each version with new examples since the last call, without undefined ones."""
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
