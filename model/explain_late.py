"""How much each past behaviour sways a late model's score: its leave-one-out influence, and its attention.

A row without a behaviour is what the row would have been had the user never shown it: the window's numbers and the
user's totals are made anew. What is other people's too stays: the sums of items and of the partition, and the residuals
of the behaviours that are left, which were taken from those sums.

The slow average of the user's totals is exact if outcomes became known in the window's order.
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
"""Scores N rows: y_hat and z_hat, float32 (N, 2)."""

Attend = Callable[[LateText], NDArray[np.float32]]
"""Returns what behaviours weigh, the newest first, and last the weight of "nothing": float32 (K + 1,), K <= H."""


def explain_late(text: LateText, *, score: ScoreRows, attend: Attend, lam: float) -> Explanation:
    """Score a row, and the same row without each behaviour of its past, in one batch."""
    behaviours = text.behaviours
    outputs = score([text, *(_without(text, place) for place in range(behaviours))])
    weights = attend(text)[:-1][::-1].astype(float).tolist()  # (K,), oldest first
    return explanation_of(outputs, lam, [0.0] * (behaviours - len(weights)) + weights)


def without(snapshot: Snapshot, place: int) -> Snapshot:
    """Return a snapshot as it would be without the behaviour at a place of its past."""
    past = np.delete(snapshot.past, place)
    return replace(snapshot, past=past, totals=_totals_without(snapshot, place))


def _totals_without(snapshot: Snapshot, place: int) -> UserTotals:
    past, totals = snapshot.past, snapshot.totals
    one = past[place]
    if one["residual"] == one["residual"]:  # known: only NaN differs from itself
        newer = past["residual"][place + 1 :]
        newer = newer[newer == newer].tolist()
        totals = totals.without_one(float(one["y"]), float(one["z"]), float(one["residual"]), newer)
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
