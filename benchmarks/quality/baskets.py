"""Prediction tasks from baskets: will this household buy this product on this visit?

Each basket offers the products bought and the same number of others, sampled by how often they were bought before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from schemas.records import BehaviorEvent, Outcome
from sway.demo.movielens import Pair
from trainer.snapshots import Labelled

Ints = NDArray[np.int64]

ACTION = "consider"
_TRIES = 50  # maximum samples per product, since most products are rare


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """L lines of baskets, oldest first, grouped by basket. at_ms, households, baskets, products: (L,)."""

    at_ms: Ints
    households: Ints
    baskets: Ints
    products: Ints

    def __len__(self) -> int:
        return len(self.at_ms)


@dataclass(frozen=True, slots=True)
class Basket:
    """A visit. offered: products in random order, each with whether it was bought."""

    at_ms: int
    household: int
    number: int
    offered: Sequence[tuple[int, bool]]


def questions(lines: Lines, households: set[int], newest: int, seed: int = 0) -> list[Basket]:
    """Return the newest baskets of some households, with at most `newest` products offered in total.

    The popularity of products is that of all households' purchases before the basket.
    """
    chosen, total = [], 0
    for first, last in reversed(_spans(lines)):
        if int(lines.households[first]) not in households:
            continue
        total += 2 * len(np.unique(lines.products[first:last]))
        if total > newest:
            break
        chosen.append((first, last))
    random = np.random.default_rng(seed)
    return [_basket(lines, first, last, random) for first, last in reversed(chosen)]


def drawn(before: Ints, bought: set[int], count: int, random: np.random.Generator) -> list[int]:
    """Sample distinct products that were not bought, with probabilities by their frequency in `before`.

    before: the product of every earlier line. count: how many to sample; fewer are returned if there are too few.
    """
    found: dict[int, None] = {}  # in sampling order
    for _ in range(_TRIES * count if len(before) else 0):
        if len(found) == count:
            break
        product = int(before[random.integers(len(before))])
        if product not in bought:
            found[product] = None
    return list(found)


def pairs_of(baskets: Sequence[Basket], texts: Mapping[int, str]) -> list[Pair]:
    """Return an event and an outcome for each product offered. texts: the texts of products."""
    return [
        _pair(basket, product, texts.get(product, ""), bought=bought)
        for basket in baskets
        for product, bought in basket.offered
    ]


def cut_after(pairs: Sequence[Pair], share: float) -> int:
    """Return the number of oldest pairs that are about this share of all, without splitting a basket."""
    place = round(len(pairs) * share)
    while 0 < place < len(pairs) and pairs[place][0].occurred_at == pairs[place - 1][0].occurred_at:
        place += 1
    return place


def before_the_basket(labelled: Labelled) -> Labelled:
    """Remove the other products of the same basket from a behaviour's past, because they reveal the outcome."""
    snapshot = labelled.snapshot
    earlier = snapshot.past["at_ms"] < snapshot.at_ms
    return labelled._replace(snapshot=replace(snapshot, past=snapshot.past[earlier]))


def own_counts(pairs: Sequence[Pair]) -> NDArray[np.float32]:
    """Return a household's history with the same product before the basket, float32 (N, 3).

    The columns are how often it was bought, how often it was offered, and log(1 + days since it was bought), NaN if
    never.
    """
    known: dict[tuple[str, str], tuple[int, int, int | None]] = {}
    rows: list[tuple[float, float, float]] = []
    waiting: list[Pair] = []
    for event, outcome in pairs:
        if waiting and waiting[0][0].occurred_at < event.occurred_at:
            for one, what in waiting:
                _count(known, one, what.y >= 0.5)
            waiting = []
        bought, offered, last_ms = known.get((event.user_id, event.item_id), (0, 0, None))
        days = np.nan if last_ms is None else np.log1p((event.occurred_at - last_ms) / 86_400_000)
        rows.append((bought, offered, days))
        waiting.append((event, outcome))
    return np.array(rows, np.float32).reshape(-1, 3)


def _count(
    known: dict[tuple[str, str], tuple[int, int, int | None]], event: BehaviorEvent, bought: bool
) -> None:
    key = event.user_id, event.item_id
    times, offered, last_ms = known.get(key, (0, 0, None))
    known[key] = times + bought, offered + 1, event.occurred_at if bought else last_ms


def _spans(lines: Lines) -> list[tuple[int, int]]:
    """Return the range of lines of each basket, end excluded."""
    changes = np.flatnonzero(np.diff(lines.baskets)) + 1
    return list(pairwise([0, *changes.tolist(), len(lines)])) if len(lines) else []


def _basket(lines: Lines, first: int, last: int, random: np.random.Generator) -> Basket:
    bought = np.unique(lines.products[first:last]).tolist()
    at_ms = int(lines.at_ms[first])
    before = lines.products[: int(np.searchsorted(lines.at_ms, at_ms))]
    others = drawn(before, set(bought), len(bought), random)
    offered = [(product, True) for product in bought] + [(product, False) for product in others]
    order = random.permutation(len(offered)).tolist()
    where = int(lines.households[first]), int(lines.baskets[first])
    return Basket(at_ms, *where, [offered[place] for place in order])


def _pair(basket: Basket, product: int, text: str, *, bought: bool) -> Pair:
    event_id, user_id = f"cj-{basket.number}-{product}", str(basket.household)
    event = BehaviorEvent(
        event_id, user_id, ACTION, basket.at_ms, item_id=str(product), item_text=text, domain="groceries"
    )
    return event, Outcome(event_id, user_id, float(bought), basket.at_ms)
