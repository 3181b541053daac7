"""The numbers of many behaviours at once: the same bits as numbers() gives each alone, for less.

What goes element by element is done for all behaviours of all windows in a line. What adds up is done row by row on
slices of that line, by the same calls as numbers() makes, since the order of a sum decides its last bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.features.history import History
from model.features.items import ItemFacts, ItemTable
from model.features.learning import USER_WEIGHT
from model.features.names import NAMES
from model.features.numbers import item_numbers, time_numbers, total_numbers, window_numbers
from model.features.signals import (
    NO_ITEM_SIGNALS,
    NO_TEXT_SIGNALS,
    item_sums,
    ridge_terms,
    text_signals_of,
    text_weights,
)
from model.features.snapshot import Snapshot

FloatArray = NDArray[np.float64]
_add = np.add.reduce
_FOLDED = NAMES.index("like_folded")


@dataclass(frozen=True, slots=True, eq=False)
class Pasts:
    """The windows of N snapshots in a line of S behaviours, each oldest first.

    lengths: int64 (N,), sum S. history: of all. rows: int64 (S,), of the item table.
    """

    lengths: NDArray[np.int64]
    history: History
    rows: NDArray[np.int64]


def numbers_of_all(
    snapshots: Sequence[Snapshot],
    pasts: Pasts,
    cosines: NDArray[np.floating],
    facts: Sequence[ItemFacts],
    table: ItemTable,
) -> NDArray[np.float32]:
    """Return the numbers of FEATURES, float32 (N, F), row by row what numbers_of() returns.

    cosines: (S,), of each text of a past with the text that is scored. facts: of each row's item.
    Raises ValueError if there is not one cosine a behaviour.
    """
    history = pasts.history
    if len(cosines) != len(history):
        raise ValueError(f"{len(cosines)} cosines for {len(history)} behaviours: one each is needed")
    places = history.known.nonzero()[0]  # (K,), all of the line whose outcome is known
    y, z, residual = history.y[places], history.z[places], history.residual[places]
    weights = text_weights(np.asarray(cosines, np.float64)[places])
    vectors = table.vectors[pasts.rows[places]].astype(np.float64)  # (K, 32)
    outcomes = table.log_outcomes[pasts.rows]  # (S,)
    ends = np.cumsum(pasts.lengths)
    known_ends = np.searchsorted(places, ends)
    made: list[tuple[float, ...]] = []
    regressions = _Regressions([], [], [], [])
    start = known_start = 0
    for snapshot, fact, end, known_end in zip(
        snapshots, facts, ends.tolist(), known_ends.tolist(), strict=True
    ):
        known, behaviours = slice(known_start, known_end), end - start
        at_s = snapshot.at_ms / 1000
        item_part, item_mean = item_numbers(at_s, snapshot.item, snapshot.mu, fact)
        bias = float(_add(residual[known])) / (known_end - known_start + USER_WEIGHT)
        net = residual[known] - bias
        text, like = NO_TEXT_SIGNALS, NO_ITEM_SIGNALS
        if known_end > known_start:
            text = text_signals_of(weights.cosines[known], weights.near[known], weights.wide[known], net)
            target = fact.vector.astype(np.float64)
            if target.any():
                like = item_sums(target, vectors[known], net)
                regressions.add(len(made), target, *ridge_terms(vectors[known], net))
        popularity = float(_add(outcomes[start:end])) / behaviours if behaviours else 0.0
        made.append(
            (
                *item_part,
                *window_numbers(y[known], z[known], residual[known], behaviours, snapshot.mu, bias),
                item_mean + bias,
                *time_numbers(at_s, history.at_s[start:end]),
                *text,
                *like,
                popularity,
                *total_numbers(snapshot.at_ms, snapshot.totals, snapshot.mu, item_mean),
            )
        )
        start, known_start = end, known_end
    numbers = np.array(made, np.float32).reshape(-1, len(NAMES))
    regressions.put(numbers)
    return numbers


@dataclass(slots=True)
class _Regressions:
    """Ridge regressions that are solved together. rows: of the numbers; the others as ridge_terms() gives them."""

    rows: list[int]
    targets: list[FloatArray]
    grams: list[FloatArray]
    moments: list[FloatArray]

    def add(self, row: int, target: FloatArray, gram: FloatArray, moments: FloatArray) -> None:
        """Take in a row's."""
        self.rows.append(row)
        self.targets.append(target)
        self.grams.append(gram)
        self.moments.append(moments)

    def put(self, numbers: NDArray[np.float32]) -> None:
        """Solve all, and put each one's value at its target into its row."""
        if self.rows:
            solved = np.linalg.solve(np.stack(self.grams), np.stack(self.moments)[:, :, None])[:, :, 0]
            numbers[self.rows, _FOLDED] = [x @ target for x, target in zip(solved, self.targets, strict=True)]
