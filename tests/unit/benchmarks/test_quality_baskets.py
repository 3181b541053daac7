"""The groceries of `make quality`: products offered beside the bought ones, and data known before a basket."""

import numpy as np
import pytest

from benchmarks.quality import groceries
from benchmarks.quality.baskets import (
    Basket,
    Lines,
    before_the_basket,
    cut_after,
    drawn,
    own_counts,
    pairs_of,
    questions,
)
from benchmarks.quality.summary import Scored
from model.features.names import FEATURES
from trainer.snapshots import StreamSettings, snapshots

HOUR_MS = 3_600_000
TEXTS = {product: f"product {product}" for product in range(1_000)}


def lines(*baskets: tuple[int, int, list[int]]) -> Lines:
    """Return the lines of baskets, each given as (hour, household, products)."""
    rows = [
        (hour * HOUR_MS, household, number, product)
        for number, (hour, household, products) in enumerate(baskets)
        for product in products
    ]
    return Lines(*np.array(rows, np.int64).reshape(-1, 4).T)


def offered(found: list[Basket]) -> list[tuple[int, set[int], set[int]]]:
    """Return the household, the bought products and the other offered products of each basket."""
    return [
        (
            one.household,
            {product for product, bought in one.offered if bought},
            {product for product, bought in one.offered if not bought},
        )
        for one in found
    ]


def test_products_are_drawn_by_their_earlier_purchase_counts() -> None:
    before = np.array([1] * 10 + [2] * 30 + [3] * 60)
    random = np.random.default_rng(0)
    first = [drawn(before, {3}, 1, random)[0] for _ in range(4_000)]
    assert set(first) == {1, 2}
    assert np.mean(np.array(first) == 2) == pytest.approx(0.75, abs=0.03)


def test_drawn_products_are_distinct_and_may_be_fewer() -> None:
    random = np.random.default_rng(0)
    assert sorted(drawn(np.array([1, 1, 2, 5]), {5}, 2, random)) == [1, 2]
    assert drawn(np.array([5, 5]), {5}, 3, random) == []
    assert drawn(np.array([], np.int64), set(), 3, random) == []


def test_only_products_bought_before_the_basket_are_offered() -> None:
    # At hour 2 two households buy at once. Neither is offered the other's first purchases.
    given = lines((0, 1, [10, 11]), (1, 2, [12, 13]), (2, 1, [10, 14]), (2, 2, [12, 15]), (3, 1, [16, 17]))
    for seed in range(20):
        for household, bought, others in offered(questions(given, {1, 2}, 1_000, seed))[2:4]:
            assert others <= {10, 11, 12, 13} - bought, household
            assert len(others) == 2


def test_a_product_on_two_lines_is_offered_once() -> None:
    found = questions(lines((0, 1, [10, 11, 12, 13]), (1, 2, [20, 20])), {2}, 1_000)
    assert [(bought, len(others)) for _, bought, others in offered(found)] == [({20}, 1)]


def test_the_newest_baskets_that_fit_are_taken() -> None:
    given = lines(*((hour, hour % 2, [hour, hour + 50]) for hour in range(20)))
    found = questions(given, {1}, 14)
    # Three baskets with four offered products each.
    assert [one.at_ms // HOUR_MS for one in found] == [15, 17, 19]
    assert {one.household for one in found} == {1}


def test_offered_products_have_a_seeded_random_order() -> None:
    given = lines(*((hour, 1, list(range(8)) if hour % 2 else list(range(8, 16))) for hour in range(400)))
    found = questions(given, {1}, 100_000)[1:]
    assert all(len(one.offered) == 16 for one in found[1:])
    first = [one.offered[0][1] for one in found[1:]]
    assert np.mean(first) == pytest.approx(0.5, abs=0.08)
    assert found == questions(given, {1}, 100_000)[1:]


def test_a_part_ends_at_the_end_of_a_basket() -> None:
    pairs = pairs_of(questions(lines(*((hour, 1, [1, 2, 3]) for hour in range(10))), {1}, 1_000), TEXTS)
    for share in (0.11, 0.5, 0.83):
        cut = cut_after(pairs, share)
        assert pairs[cut][0].occurred_at > pairs[cut - 1][0].occurred_at
        assert cut - len(pairs) * share < 6


def test_the_past_of_a_behaviour_excludes_its_own_basket() -> None:
    pairs = pairs_of(questions(lines(*((hour, 1, [1, 2, 3]) for hour in range(5))), {1}, 1_000), TEXTS)
    labelled = list(snapshots(pairs, lambda event: event.item_text, StreamSettings(delay_ms=1)))
    seen = list(map(before_the_basket, labelled))
    assert any(
        len(one.snapshot.past) < len(all_.snapshot.past) for one, all_ in zip(seen, labelled, strict=True)
    )
    for one, (event, _) in zip(seen, pairs, strict=True):
        past = one.snapshot.past
        earlier = [outcome.y for other, outcome in pairs if other.occurred_at < event.occurred_at]
        # No outcome of an earlier basket is NaN, and none of this basket is known.
        assert past["y"].tolist() == earlier


def test_own_counts_cover_only_earlier_baskets() -> None:
    baskets = [
        Basket(0, 1, 0, [(7, True), (8, False)]),
        Basket(24 * HOUR_MS, 1, 1, [(7, False), (8, True)]),
        Basket(24 * HOUR_MS, 2, 2, [(7, True)]),
        Basket(72 * HOUR_MS, 1, 3, [(7, True), (8, False)]),
    ]
    found = own_counts(pairs_of(baskets, TEXTS))
    assert found[:, 0].tolist() == [0, 0, 1, 0, 0, 1, 1]
    assert found[:, 1].tolist() == [0, 0, 1, 1, 0, 2, 2]
    days = [np.nan, np.nan, np.log1p(1), np.nan, np.nan, np.log1p(3), np.log1p(2)]
    assert np.allclose(found[:, 2], days, equal_nan=True)


def test_the_quarter_of_the_households_is_stable() -> None:
    found = groceries.quarter_of(range(4_000))
    assert len(found) == pytest.approx(1_000, rel=0.1)
    assert found & set(range(2_000)) == groceries.quarter_of(range(2_000))


def test_our_figure_is_the_run_chosen_by_validation() -> None:
    random = np.random.default_rng(0)
    y = (random.random(500) < 0.5).astype(float)
    users = np.array([f"u{row % 25}" for row in range(500)])

    def scored(strength: float, valid_loss: float) -> Scored:
        return Scored(users, y, strength * y[None] + random.normal(size=(1, 500)), valid_loss)

    predictions = {
        "LightGBM, counts": scored(0.1, 0.1),
        "tower": scored(3.0, 0.6),
        "wide tower": scored(1.0, 0.5),
    }
    by_name = {row.name: row for row in groceries.figures(predictions, samples=50)}
    chosen = by_name["groceries: AUC of ours, by validation"]
    assert chosen.value == predictions["wide tower"].aucs[0]
    assert by_name["groceries: that - LightGBM on counts"].met is True
    assert by_name["groceries: that - LightGBM on identical numbers"].value is None


def test_own_counts_follow_all_features() -> None:
    extra = [place for run in groceries._RUNS for place in run.extra]
    assert extra == [len(FEATURES), len(FEATURES) + 1, len(FEATURES) + 2]
