"""Numbers as words: values, outcomes and rates, quantised to a small vocabulary.

A raw price or duration would almost always be a new string, which defeats the cache of token ids and teaches the model
nothing. Each number is therefore rendered as one of a few phrases.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

PRICE_ACTIONS = frozenset({"cart", "purchase", "buy", "order", "refund", "wishlist"})
RATING_ACTIONS = frozenset({"rate", "review"})

_DURATION_BOUNDS_S = (5.0, 20.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 7200.0)
_DURATIONS = (
    "an instant",
    "seconds",
    "under a minute",
    "minutes",
    "several minutes",
    "half an hour",
    "an hour",
    "two hours",
    "many hours",
)

HABITS_START = "user likes "
ITEM_START = "item liked by "

RATES_START = (HABITS_START, ITEM_START)
"""Prefixes of rates in words; they distinguish rates from behaviours in a stored text."""

RECENT = 10
"""The number of newest known outcomes that `lately` covers."""

# From worst to best, for z = 0, 1/4, 1/2, 3/4, 1.
_TASTE = ("hated", "disliked", "mixed", "liked", "loved")
# Words for a negative and a positive outcome.
_DEFAULT_OUTCOMES = ("rejected", "accepted")
_OUTCOMES = {
    "watch": ("disliked", "liked"),
    "rate": ("disliked", "liked"),
    "like": ("disliked", "liked"),
    "listen": ("disliked", "liked"),
    "read": ("disliked", "liked"),
    "click": ("left", "stayed"),
    "impression": ("ignored", "clicked"),
    "view": ("passed", "bought"),
    "cart": ("abandoned", "bought"),
    "purchase": ("returned", "kept"),
    "share": ("unanswered", "answered"),
    "follow": ("unfollowed", "followed"),
}
_TASTE_ACTIONS = frozenset(action for action, words in _OUTCOMES.items() if words == ("disliked", "liked"))


def value_words(action: str, value: float | None) -> str:
    """Return a behaviour's value as a coarse phrase, or "" if it is unknown or not finite.

    The action determines the unit: a price for PRICE_ACTIONS, a rating for RATING_ACTIONS, seconds for all others.
    """
    if value is None or not math.isfinite(value):
        return ""
    if action in PRICE_ACTIONS:
        return price_words(value)
    if action in RATING_ACTIONS:
        return rating_words(value)
    return duration_words(value)


def price_words(price: float) -> str:
    """Return a price rounded to 1, 2 or 5 times a power of ten, such as "price 20"."""
    if price <= 0:
        return "free" if price == 0 else "price negative"
    if price < 1:
        return "price under 1"
    if price >= 1e6:
        return "price huge"
    magnitude = 10 ** math.floor(math.log10(price))
    steps = (1, 2, 5, 10)
    step = min(steps, key=lambda step: abs(price / magnitude - step))
    return f"price {step * magnitude}"


def rating_words(rating: float) -> str:
    """Return a rating rounded to an integer from 0 to 10, such as "rating 4"."""
    return f"rating {round(min(10.0, max(0.0, rating)))}"


def duration_words(seconds: float) -> str:
    """Return a duration as one of nine phrases, such as "half an hour" for 10 up to 30 minutes."""
    return _DURATIONS[bisect_right(_DURATION_BOUNDS_S, seconds)]


def outcome_words(action: str, y: float | None, z: float | None) -> str:
    """Return the action's word for an outcome, or "" if the outcome is unknown.

    y, z: in [0, 1]. A known z selects a finer word for actions that express taste.
    """
    if y is None:
        return ""
    if z is not None and action in _TASTE_ACTIONS:
        return _TASTE[round(min(1.0, max(0.0, z)) * (len(_TASTE) - 1))]
    return _OUTCOMES.get(action, _DEFAULT_OUTCOMES)[y >= 0.5]


class Habits(NamedTuple):
    """Outcome counts of a user's window.

    known: behaviours with a known outcome. positive: those with y >= 0.5. lately: positive ones among the newest RECENT
    known outcomes.
    """

    known: int
    positive: int
    lately: int


NO_HABITS = Habits(0, 0, 0)


class ItemCounts(NamedTuple):
    """Outcome counts of an item over all users. known: known outcomes. positive: those with y >= 0.5."""

    known: int
    positive: int

    def with_outcome(self, y: float) -> "ItemCounts":
        """Return the counts with one more outcome."""
        return ItemCounts(self.known + 1, self.positive + (y >= 0.5))


NO_OUTCOMES = ItemCounts(0, 0)


def count_habits(window: Iterable[float | None]) -> Habits:
    """Count the outcomes of a window. window: y of its behaviours, oldest first, None where unknown."""
    known = [y >= 0.5 for y in window if y is not None]
    return Habits(len(known), sum(known), sum(known[-RECENT:]))


def habit_words(habits: Habits) -> str:
    """Return a user's rates, such as "user likes 65 percent of many, lately 80", or "" without known outcomes.

    Rates are rounded to 5 percent; the rate of `lately`, over at most ten outcomes, to 10 percent.
    """
    if not habits.known:
        return ""
    rate = round(20 * habits.positive / habits.known) * 5
    text = f"{HABITS_START}{rate} percent of {_count_words(habits.known)}"
    if habits.known <= RECENT:
        return text
    return f"{text}, lately {round(10 * habits.lately / RECENT) * 10}"


def item_rate_words(item: ItemCounts) -> str:
    """Return an item's rate over all users, such as "item liked by 65 percent of many", or "" without outcomes.

    The rate is rounded to 5 percent, so that there are about a hundred phrases.
    """
    if not item.known:
        return ""
    return f"{ITEM_START}{round(20 * item.positive / item.known) * 5} percent of {_count_words(item.known)}"


def _count_words(count: int) -> str:
    return ("1", "2", "few", "several", "many")[bisect_right((1, 2, 5, 15), count - 1)]
