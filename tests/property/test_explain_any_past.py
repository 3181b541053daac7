"""Removing a behaviour from a snapshot gives the snapshot of a user without that behaviour."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from model.explain_late import without
from model.features.history import PAST
from model.features.snapshot import Snapshot, numbers_of
from model.features.state import NO_ITEM, NO_TOTALS, UserTotals, as_float32

SHARES = st.floats(0, 1, width=32)


class Shown(NamedTuple):
    """A behaviour; y is None while its outcome is unknown."""

    gap_ms: int
    item: int
    text: int
    y: float | None
    z: float
    residual: float


SHOWN = st.builds(
    Shown,
    st.sampled_from([0, 1, 70_000, 86_400_000]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.none() | SHARES,
    SHARES,
    st.floats(-1, 1, width=32),
)


def snapshot_of(shown: Sequence[tuple[int, Shown]], kept: int, at_ms: int) -> Snapshot:
    """Return a user's snapshot after these timed behaviours; the window contains the newest `kept`."""
    totals: UserTotals = NO_TOTALS
    for time_ms, one in shown:
        totals = totals.with_behaviour(time_ms)
        if one.y is not None:
            totals = totals.with_outcome(one.y, one.z, one.residual)
    unknown = (float("nan"),) * 3
    records = [
        (time_ms, one.item, one.text, *(unknown if one.y is None else (one.y, one.z, one.residual)))
        for time_ms, one in shown[len(shown) - kept :]
    ]
    return Snapshot(
        at_ms=at_ms, item_key=1, text_key=2, item=NO_ITEM, mu=0.5, totals=totals, past=np.array(records, PAST)
    )


@given(shown=st.lists(SHOWN, min_size=1, max_size=12), beyond=st.integers(0, 11), place=st.integers(0, 11))
def test_removing_a_behaviour_gives_the_snapshot_without_it(
    shown: list[Shown], beyond: int, place: int
) -> None:
    times = np.cumsum([10**12, *(one.gap_ms for one in shown)]).tolist()
    timed = list(zip(times[1:], shown, strict=True))
    kept = max(len(shown) - beyond, 1)
    edge = len(shown) - kept
    # With equal times the first behaviour of the window is not well defined.
    assume(not edge or timed[edge - 1][0] < timed[edge][0])
    place = edge + place % kept
    at_ms = times[-1] + 5_000
    made = without(snapshot_of(timed, kept, at_ms), place - edge)
    expected = snapshot_of([*timed[:place], *timed[place + 1 :]], kept - 1, at_ms)
    assert made.past.tobytes() == expected.past.tobytes()
    last = {"last_at_ms": 0}  # not used by any number
    assert list(made.totals._replace(**last)) == pytest.approx(
        [*expected.totals._replace(first_at_ms=expected.totals.first_at_ms or at_ms, **last)],
        abs=1e-9,
    )
    cosines = np.linspace(-1, 1, kept - 1)
    np.testing.assert_allclose(numbers_of(made, cosines), numbers_of(expected, cosines), atol=1e-5)


@given(
    outcomes=st.lists(st.tuples(SHARES, SHARES, st.floats(-1, 1)), min_size=1, max_size=60), which=st.data()
)
def test_totals_without_an_outcome_equal_those_of_the_rest(
    outcomes: list[tuple[float, float, float]], which: st.DataObject
) -> None:
    place = which.draw(st.integers(0, len(outcomes) - 1))
    rounded = [(y, z, as_float32(residual)) for y, z, residual in outcomes]

    def totals(of: Sequence[tuple[float, float, float]]) -> UserTotals:
        made: UserTotals = NO_TOTALS
        for outcome in of:
            made = made.with_outcome(*outcome)
        return made

    newer = [residual for _, _, residual in rounded[place + 1 :]]
    found = totals(rounded).without_outcome(*rounded[place], newer)
    assert list(found) == pytest.approx(list(totals([*rounded[:place], *rounded[place + 1 :]])), abs=1e-9)
    assert found.residual_squares >= 0
