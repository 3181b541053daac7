"""Feature numbers computed for a batch are bitwise equal to those computed one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.features.batch import Pasts, numbers_of_all
from model.features.history import PAST, History
from model.features.items import NO_ITEMS, ItemFacts, ItemTable
from model.features.names import FEATURES
from model.features.snapshot import Snapshot, numbers_of
from model.features.state import ItemState, UserTotals

KEYS = np.arange(1, 40, dtype=np.uint64)


def item_table(random: np.random.Generator) -> ItemTable:
    vectors = random.normal(size=(len(KEYS) + 1, 32)).astype(np.float32) * 0.4
    vectors[[3, -1]] = 0
    bias, outcomes = random.normal(size=(2, len(KEYS) + 1)).astype(np.float32)
    return ItemTable(KEYS, vectors, bias, np.abs(outcomes))


def snapshot(random: np.random.Generator, *, behaviours: int, known: float) -> Snapshot:
    """Return a random snapshot; some of its items are not in the table. known: the share of known outcomes."""
    at_ms = int(random.integers(10**9, 2 * 10**9))
    past = np.zeros(behaviours, PAST)
    past["at_ms"] = np.sort(at_ms + random.integers(-(10**8), 10**5, behaviours))
    past["item"] = random.integers(0, 50, behaviours)
    is_known = random.random(behaviours) < known
    for name, values in zip(("y", "z", "residual"), random.random((3, behaviours)), strict=True):
        past[name] = np.where(is_known, values, np.nan)
    outcomes = int(random.integers(0, 12))
    recent = tuple(random.random(min(outcomes, 10)).astype(np.float32).tolist())
    sums = random.random(9).tolist()
    item = ItemState(
        outcomes=outcomes,
        y_sum=sums[0],
        z_sum=sums[1],
        above_mean=sums[2],
        above_user=sums[3],
        last_at_ms=at_ms - 5_000,
        recent=recent,
    )
    totals = UserTotals(
        behaviours=behaviours,
        outcomes=outcomes,
        y_sum=sums[4],
        z_sum=sums[5],
        residual_sum=sums[6],
        residual_squares=sums[7],
        slow=sums[8],
        first_at_ms=at_ms - 10**7,
        last_at_ms=at_ms,
    )
    return Snapshot(
        at_ms=at_ms,
        item_key=int(random.integers(0, 50)),
        text_key=1,
        item=item,
        mu=float(random.random()),
        totals=totals,
        past=past,
    )


@given(
    st.lists(st.tuples(st.integers(0, 210), st.sampled_from([0.0, 0.5, 1.0])), max_size=8),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_batched_numbers_equal_single_ones(sizes: list[tuple[int, float]], no_items: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    table = NO_ITEMS if no_items else item_table(random)
    snapshots = [snapshot(random, behaviours=count, known=share) for count, share in sizes]
    cosines = [random.uniform(-1.01, 1.01, len(each.past)).astype(np.float32) for each in snapshots]
    for near in cosines:
        near[random.random(len(near)) < 0.1] = np.nan
        near[random.random(len(near)) < 0.2] = 1.0
    facts = [table.facts_of_row(table.row_of(each.item_key)) for each in snapshots]
    facts[:1] = [ItemFacts(random.normal(size=32).astype(np.float32), 0.25, 0.0)][: len(facts)]
    records = np.concatenate([np.zeros(0, PAST), *(each.past for each in snapshots)])
    lengths = np.array([len(each.past) for each in snapshots], np.int64)
    pasts = Pasts(lengths, History.of(records), table.rows_of(records["item"]))
    flat = np.concatenate([np.zeros(0, np.float32), *cosines])
    found = numbers_of_all(snapshots, pasts, flat, facts, table)
    assert found.shape == (len(sizes), len(FEATURES))
    assert found.dtype == np.float32
    for row, (each, near, fact) in enumerate(zip(snapshots, cosines, facts, strict=True)):
        assert found[row].tobytes() == numbers_of(each, near, fact, table).tobytes()


def test_cosines_must_match_the_number_of_behaviours() -> None:
    one = snapshot(np.random.default_rng(0), behaviours=3, known=1.0)
    pasts = Pasts(np.array([3]), History.of(one.past), np.full(3, -1))
    with pytest.raises(ValueError, match="2 cosines for 3 behaviours"):
        numbers_of_all([one], pasts, np.zeros(2), [NO_ITEMS.facts_of_row(-1)], NO_ITEMS)
