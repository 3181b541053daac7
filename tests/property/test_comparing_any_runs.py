"""Comparison of any two runs: independent of row order, complete and symmetric."""

import math
from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sway.compare.comparison import Comparison, compare
from sway.compare.differences import Moved
from tests.support.plain_scores import Row, row, run

VALUES = st.sampled_from([0.0, -0.0, 0.25, 0.250001, 0.5, 0.7, 1.0, math.nan, math.inf]) | st.floats(0, 1)
ROWS = st.builds(
    row,
    st.integers(0, 12),
    VALUES,
    partition=st.integers(0, 2),
    user_id=st.sampled_from("uvw"),
    y_hat=VALUES,
    truncated=st.booleans(),
    model_version=st.sampled_from(["v-1", "v-2"]),
    source_topic=st.sampled_from(["sway.events", "other"]),
)


def key(one: Row) -> tuple[str, int, int]:
    return one["source_topic"], one["source_partition"], one["source_offset"]


RUNS = st.lists(ROWS, min_size=1, max_size=40, unique_by=key)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    """Draw two runs with at least one common source record; without one, `compare` refuses them."""
    a, b = draw(RUNS), draw(RUNS)
    ours = draw(st.sampled_from(a))
    record = {name: value for name, value in ours.items() if name.startswith("source_") or name == "event_id"}
    return a, [b[0] | record, *(one for one in b[1:] if key(one) != key(ours))]


def compared(a: list[Row], b: list[Row]) -> Comparison:
    return compare(run("A", a), run("B", b), influence_limit=0.1)


@given(pairs(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_rows_does_not_matter(runs: tuple[list[Row], list[Row]], random: st.DataObject) -> None:
    a, b = runs
    shuffled = [random.sample(rows, len(rows)) for rows in (a, b)]  # type: ignore[attr-defined]
    # Compare by repr: a NaN does not equal itself. Bitwise equal, since sums run in the order of the sources.
    assert repr(compared(*shuffled)) == repr(compared(a, b))


@given(pairs())
@settings(max_examples=100, deadline=None)
def test_every_source_record_is_in_both_or_in_one(runs: tuple[list[Row], list[Row]]) -> None:
    a, b = runs
    ours, theirs = {key(one) for one in a}, {key(one) for one in b}
    found = compared(a, b)
    assert found.both == len(ours & theirs)
    assert (found.only_a.count, found.only_b.count) == (len(ours - theirs), len(theirs - ours))
    assert found.identical <= found.within_tolerance <= found.both
    assert sum(one.count for one in found.histogram) >= found.both - found.influence.not_comparable


@given(st.lists(ROWS, min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_a_run_is_identical_to_itself(rows: list[Row]) -> None:
    found = compared(rows, rows)
    assert found.identical == found.within_tolerance == found.both == found.a.scores
    assert found.a.repeated == len(rows) - len({key(one) for one in rows})
    assert found.agrees
    assert found.movers == []


@given(pairs())
@settings(max_examples=100, deadline=None)
def test_swapping_the_runs_negates_the_differences(runs: tuple[list[Row], list[Row]]) -> None:
    a, b = runs
    forth, back = compared(a, b), compared(b, a)
    assert (forth.identical, forth.within_tolerance) == (back.identical, back.within_tolerance)
    assert (forth.only_a, forth.only_b) == (back.only_b, back.only_a)
    assert forth.influence_over == back.influence_over
    assert [one.count for one in forth.histogram] == [one.count for one in reversed(back.histogram)]
    assert repr([(one.source, one.a, one.b) for one in forth.movers]) == repr(
        [(one.source, one.b, one.a) for one in back.movers]
    )
    for ours, theirs in ((forth.influence, back.influence), (forth.y_hat, back.y_hat)):
        assert astuple(ours) == pytest.approx(astuple(negated(theirs)), nan_ok=True)
    assert forth.spearman.all == pytest.approx(back.spearman.all, nan_ok=True)


def negated(one: Moved) -> Moved:
    return replace(one, mean_a=one.mean_b, mean_b=one.mean_a, mean=-one.mean)
