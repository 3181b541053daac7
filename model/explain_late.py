"""Explanations of a late model's scores: the leave-one-out effect and the attention of each past behaviour.

Removing a behaviour recomputes the features of the window and the user's totals, as if the behaviour had never
happened. Data shared with other users is kept: the sums of items and of the partition, and the residuals of the other
behaviours, which were computed from those sums.

The slow average in the user's totals is exact if the outcomes became known in the order of the window.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.explain import Explanation, explanation_of
from model.features.snapshot import Snapshot
from model.features.state import UserTotals
from model.jobs import LateText
from model.tokens import Piece

ScoreRows = Callable[[list[LateText]], NDArray[np.float32]]
"""Score N rows; return y_hat and z_hat, float32 (N, 2)."""

Attend = Callable[[LateText], NDArray[np.float32]]
"""Return attention weights, float32 (K + 1,), K <= H: of the K newest behaviours, newest first, then of "nothing"."""


def explain_late(text: LateText, *, score: ScoreRows, attend: Attend, lam: float) -> Explanation:
    """Score a row, and the same row without each past behaviour in turn, in one batch."""
    behaviours = text.behaviours
    outputs = score([text, *(_without(text, place) for place in range(behaviours))])
    weights = attend(text)[:-1][::-1].astype(float).tolist()  # (K,), oldest first
    return explanation_of(outputs, lam, [0.0] * (behaviours - len(weights)) + weights)


def without(snapshot: Snapshot, place: int) -> Snapshot:
    """Return the snapshot without the past behaviour at an index."""
    past = np.delete(snapshot.past, place)
    return replace(snapshot, past=past, totals=_totals_without(snapshot, place))


def _totals_without(snapshot: Snapshot, place: int) -> UserTotals:
    past, totals = snapshot.past, snapshot.totals
    one = past[place]
    # The outcome is known unless the residual is NaN, which differs from itself.
    if one["residual"] == one["residual"]:
        newer = past["residual"][place + 1 :]
        newer = newer[newer == newer].tolist()
        totals = totals.without_outcome(float(one["y"]), float(one["z"]), float(one["residual"]), newer)
    first_at_ms = totals.first_at_ms
    if one["at_ms"] == first_at_ms:
        left = np.delete(past["at_ms"], place)
        first_at_ms = min(left[left >= first_at_ms].tolist(), default=snapshot.at_ms)
    return totals._replace(behaviours=max(totals.behaviours - 1, 0), first_at_ms=first_at_ms)


def _without(text: LateText, place: int) -> LateText:
    def pieces() -> Sequence[Piece]:
        words = text.pieces()
        return [*words[:place], *words[place + 1 :]]

    return replace(text, snapshot=without(text.snapshot, place), pieces=pieces)
