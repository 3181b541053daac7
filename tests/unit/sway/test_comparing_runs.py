"""Comparisons of two runs, on examples worked by hand."""

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from sway.compare.comparison import compare
from sway.compare.differences import EDGES, histogram, moved
from sway.compare.labels import Labels
from sway.compare.ranks import spearman, spearman_by_group
from sway.compare.scores import Coordinates, Scores
from sway.compare.show import as_tables
from sway.errors import CommandError
from tests.support.plain_scores import Row, row, run

NAN = float("nan")


def both(a: list[float], b: list[float]) -> tuple[Scores, Scores]:
    """Return two runs over the same events, with these influences."""
    return tuple(  # type: ignore[return-value]
        run(name, [row(offset, value) for offset, value in enumerate(values)])
        for name, values in (("A", a), ("B", b))
    )


def labels(*rows: tuple[str, str, float], users: bool = True) -> Labels:
    events, user_ids, y = zip(*rows, strict=True)
    table = {"event_id": pa.array(events, pa.large_string()), "y": pa.array(y, pa.float64())}
    if users:
        table["user_id"] = pa.array(user_ids, pa.large_string())
    return Labels.from_table("the test", pa.table(table))


def test_runs_are_joined_by_topic_partition_and_offset() -> None:
    a = run("A", [row(1), row(2), row(1, partition=1), row(9)])
    b = run("B", [row(1, partition=1), row(2), row(1, source_topic="other"), row(7), row(8)])
    found = compare(a, b)
    assert found.both == 2
    assert found.only_a.examples == [Coordinates("sway.events", 0, 1), Coordinates("sway.events", 0, 9)]
    assert found.only_b.count == 3
    assert found.only_b.examples == [
        Coordinates("other", 0, 1),
        Coordinates("sway.events", 0, 7),
        Coordinates("sway.events", 0, 8),
    ]


def test_only_the_first_few_unmatched_offsets_are_named() -> None:
    found = compare(run("A", [row(offset) for offset in range(20)]), run("B", [row(19)]))
    assert found.only_a.count == 19
    assert [one.offset for one in found.only_a.examples] == [0, 1, 2, 3, 4]


def test_the_last_score_of_an_offset_counts() -> None:
    a = run("A", [row(1, 0.1), row(2, 0.2), row(1, 0.3), row(1, 0.4, model_version="v-2")])
    b = run("B", [row(2, 0.2), row(1, 0.4)])
    found = compare(a, b)
    assert found.identical == found.both == 2
    assert (found.a.scores, found.a.repeated, found.b.repeated) == (2, 2, 0)
    assert found.a.model_versions == {"v-1": 1, "v-2": 1}


def test_an_offset_with_different_events_is_not_a_pair() -> None:
    found = compare(run("A", [row(1), row(2)]), run("B", [row(1), row(2, event_id="other")]))
    assert (found.both, found.other_event.count) == (1, 1)
    assert found.other_event.examples == [Coordinates("sway.events", 0, 2)]
    assert (found.a.scores, found.only_a.count) == (2, 0)


def test_identical_is_bitwise_and_tolerance_takes_the_largest_difference() -> None:
    a = [row(0), row(1), row(2), row(3, 0.0)]
    b = [row(0), row(1, z_hat=0.5 + 9e-6), row(2, y_hat=0.5 + 2e-5), row(3, -0.0)]
    found = compare(run("A", a), run("B", b))
    assert (found.identical, found.within_tolerance) == (1, 3)
    assert compare(run("A", a), run("B", b), tolerance=0).within_tolerance == 2
    assert compare(run("A", a), run("B", b), tolerance=1e-4).within_tolerance == 4


def test_a_run_with_nan_is_identical_to_itself() -> None:
    itself = run("A", [row(0, NAN), row(1, math.inf), row(2, 0.25)])
    found = compare(itself, itself, influence_limit=0)
    assert found.identical == found.within_tolerance == found.both == 3
    assert found.agrees
    assert found.movers == []
    assert found.influence.not_comparable == 2
    assert found.influence.max == 0


def test_influence_changes_are_summarised() -> None:
    found = compare(*both([0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, 0.25, 0.6, 0.5])).influence
    assert (found.mean_a, found.mean_b) == pytest.approx((0.3, 0.33))
    assert (found.mean, found.mean_abs) == pytest.approx((0.03, 0.05))
    # |B - A| in order: 0, 0, 0, .05, .2; p90 lies 0.6 of the way from the fourth to the fifth
    assert (found.p50, found.p90, found.max) == pytest.approx((0.0, 0.14, 0.2))
    assert found.p99 == pytest.approx(0.05 + 0.96 * 0.15)


def test_a_one_sided_nan_is_counted_and_leads_the_movers() -> None:
    a, b = both([0.1, 0.2, 0.3], [NAN, 0.2, 0.9])
    found = compare(a, b, influence_limit=10)
    assert found.influence.not_comparable == found.spearman.not_comparable == 1
    assert found.influence.mean_a == pytest.approx(0.25)
    assert [one.source.offset for one in found.movers] == [0, 2]
    assert (found.influence_over, found.agrees) == (1, False)
    assert found.within_tolerance == 1


def test_without_finite_differences_every_figure_is_nan() -> None:
    found = moved(np.array([NAN, 1.0]), np.array([NAN, math.inf]))
    assert found.not_comparable == 2
    assert math.isnan(found.mean)
    assert math.isnan(found.max)


def test_the_histogram_puts_an_edge_in_the_smaller_bin() -> None:
    bins = histogram(np.array([0.0, 1e-5, -1e-5, 0.02, -0.02, -0.1, 0.100001, 0.9, -math.inf, NAN]))
    counts = {(one.low, one.high): one.count for one in bins if one.count}
    assert counts == {
        (-1e-5, 1e-5): 3,
        (0.01, 0.03): 1,
        (-0.03, -0.01): 1,
        (-0.1, -0.03): 1,
        (0.1, 0.3): 1,
        (0.3, math.inf): 1,
        (-math.inf, -0.3): 1,
    }
    assert len(bins) == 2 * len(EDGES) + 1


@pytest.mark.parametrize("seed", range(5))
def test_spearman_matches_scipy_with_ties_and_groups(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 12, 200) / 4.0, random.integers(0, 12, 200) / 4.0
    groups = random.integers(0, 9, 200)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    own = spearman_by_group(x, y, groups)
    for group in range(9):
        rows = groups == group
        assert own[group] == pytest.approx(spearmanr(x[rows], y[rows]).statistic)


def test_equal_values_in_different_groups_are_not_tied() -> None:
    x, y = np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 2.0])
    assert spearman_by_group(x, y, np.array([0, 0, 1, 1])).tolist() == pytest.approx([1.0, -1.0])


def test_spearman_of_a_constant_is_undefined() -> None:
    assert math.isnan(spearman(np.full(9, 0.1), np.arange(9.0)))
    assert math.isnan(spearman(np.array([]), np.array([])))


def test_within_users_counts_users_with_five_varied_scores() -> None:
    users = {"up": 5, "down": 6, "few": 4, "flat": 5}
    rows = [(user, place) for user, count in users.items() for place in range(count)]
    a, b = [], []
    for offset, (user, place) in enumerate(rows):
        theirs = {"up": place, "down": -place, "few": -place, "flat": 1}[user]
        a.append(row(offset, float(place), user_id=user))
        b.append(row(offset, float(theirs), user_id=user))
    found = compare(run("A", a), run("B", b)).spearman
    assert found.users == 2
    assert found.within_users == pytest.approx(0.0)


def test_the_mean_over_users_does_not_depend_on_order() -> None:
    random = np.random.default_rng(1)
    a, b = ([row(n, float(random.random()), user_id=f"u{n % 50}") for n in range(300)] for _ in range(2))
    means = {compare(run("A", a[n:] + a[:n]), run("B", b)).spearman.within_users for n in range(50)}
    assert len(means) == 1


def test_differing_flags_are_counted() -> None:
    a = [row(0), row(1, truncated=True), row(2, duplicate=True), row(3, behaviours=4)]
    b = [row(0), row(1), row(2), row(3, truncated=True)]
    found = compare(run("A", a), run("B", b)).flags
    assert (found.behaviours, found.truncated, found.duplicate) == (1, 2, 1)


def test_movers_are_sorted_by_size_then_source() -> None:
    a, b = both([0.5] * 5, [0.5, 0.75, 0.25, 0.75, 0.9])
    found = compare(a, b, movers=3).movers
    assert [one.source.offset for one in found] == [4, 1, 2]
    assert (found[0].event_id, found[0].user_id, found[0].item_id) == ("e0-4", "u", "i")
    assert (found[0].a, found[0].b) == (0.5, 0.9)
    assert len(compare(a, b, movers=99).movers) == 4


def test_both_runs_are_evaluated_on_the_same_labelled_events() -> None:
    a, b = both([0.1, 0.4, 0.35, 0.8, 0.9], [0.1, 0.2, 0.35, 0.8, NAN])
    y = [0.0, 0.0, 1.0, 1.0, 0.0]
    found = compare(a, b, labels(*((f"e0-{n}", "u", value) for n, value in enumerate(y)))).labelled
    assert found is not None
    assert (found.pairs, found.positive) == (4, 2)  # the pair with a NaN counts for neither
    # A orders one of its four pairs of classes wrongly.
    assert (found.y_hat.a, found.y_hat.b) == (0.75, 1.0)
    assert found.influence == found.y_hat


def test_labels_match_by_event_and_user_and_the_last_counts() -> None:
    a: list[Row] = [row(0, user_id="ada"), row(1, user_id="bob"), row(2, user_id="cyd")]
    given = labels(("e0-0", "ada", 0.0), ("e0-0", "ada", 1.0), ("e0-2", "ada", 1.0), ("e9-9", "cyd", 1.0))
    found = compare(run("A", a), run("B", a), given).labelled
    assert found is not None
    assert (found.pairs, found.positive) == (1, 1)
    assert math.isnan(found.y_hat.a)
    nameless = labels(("e0-0", "", 0.0), ("e0-1", "", 0.5), ("e0-2", "", NAN), users=False)
    found = compare(run("A", a), run("B", a), nameless).labelled
    assert found is not None
    assert (found.pairs, found.positive) == (2, 1)


def test_a_share_is_never_rounded_to_all_or_none() -> None:
    a, b = both([0.5] * 20_001, [0.25] + [0.5] * 20_000)
    shown = "".join(str(one) for one in as_tables(compare(a, b)))
    assert "identical: 20,000 (over 99.99%)" in shown
    shown = "".join(str(one) for one in as_tables(compare(*both([0.5] * 20_001, [0.5] + [0.25] * 20_000))))
    assert "identical: 1 (under 0.01%)" in shown


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (row(1, source_topic="shop.events"), "A and B score different topics: sway.events, and shop.events."),
        (row(7), r"the first scores sway.events\[0\]@1 to 3, the second sway.events\[0\]@7 to 7."),
        (
            row(1, event_id="x"),
            r"but different events, for example at sway.events\[0\]@1: the source topic was",
        ),
    ],
)
def test_runs_without_common_events_are_refused_with_the_reason(other: Row, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        compare(run("A", [row(1), row(3)]), run("B", [other]))


def test_a_run_without_scores_is_refused() -> None:
    with pytest.raises(CommandError, match="A contains no scores"):
        run("A", [])
