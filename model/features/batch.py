"""Features of many behaviours at once, bit-identical to numbers() for each, but faster.

Element-wise operations run once over the concatenated windows. Sums run per row on slices of them, with the same calls
as in numbers(), because the order of a floating-point sum determines its last bits.
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
    """The windows of N snapshots, each oldest first, concatenated to S behaviours.

    lengths: int64 (N,), the length of each window; their sum is S. history: the S behaviours.
    rows: int64 (S,), their rows in the item table.
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
    """Return the values of FEATURES, float32 (N, F); each row equals the result of numbers_of().

    cosines: (S,), of each past behaviour's text with the text of the behaviour being scored.
    facts: one per row, of the row's item. table: the checkpoint's items.
    Raises ValueError if the number of cosines differs from the number of behaviours.
    """
    history = pasts.history
    if len(cosines) != len(history):
        raise ValueError(f"{len(cosines)} cosines for {len(history)} behaviours: the numbers must be equal")
    places = history.known.nonzero()[0]  # (K,), behaviours with a known outcome
    y, z, residual = history.y[places], history.z[places], history.residual[places]
    weights = text_weights(np.asarray(cosines, np.float64)[places])
    vectors = table.vectors[pasts.rows[places]].astype(np.float64)  # (K, 32)
    outcomes = table.log_outcomes[pasts.rows]  # (S,)
    ends = np.cumsum(pasts.lengths)
    known_ends = np.searchsorted(places, ends)
    rows: list[tuple[float, ...]] = []
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
                regressions.add(len(rows), target, *ridge_terms(vectors[known], net))
        popularity = float(_add(outcomes[start:end])) / behaviours if behaviours else 0.0
        rows.append(
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
    numbers = np.array(rows, np.float32).reshape(-1, len(NAMES))
    regressions.put(numbers)
    return numbers


@dataclass(slots=True)
class _Regressions:
    """Ridge regressions that are solved in one call.

    rows: rows of the feature matrix. targets: the item vectors at which the regressions are evaluated.
    grams, moments: the results of ridge_terms().
    """

    rows: list[int]
    targets: list[FloatArray]
    grams: list[FloatArray]
    moments: list[FloatArray]

    def add(self, row: int, target: FloatArray, gram: FloatArray, moments: FloatArray) -> None:
        """Add the regression of a row."""
        self.rows.append(row)
        self.targets.append(target)
        self.grams.append(gram)
        self.moments.append(moments)

    def put(self, numbers: NDArray[np.float32]) -> None:
        """Solve all regressions; write each one's value at its target into its row of the feature matrix."""
        if self.rows:
            solved = np.linalg.solve(np.stack(self.grams), np.stack(self.moments)[:, :, None])[:, :, 0]
            numbers[self.rows, _FOLDED] = [x @ target for x, target in zip(solved, self.targets, strict=True)]
