"""Numbers in words: values, outcomes and habits, coarse enough to be a small vocabulary.

A raw price or duration would be a new string almost every time: it would defeat the cache of token ids
and teach the model nothing. So each number becomes one of a few words. Pure: no clock, no state.
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
"""How the rates in words begin, by which they are told from a behaviour in a stored text."""

RECENT = 10
"""How many known outcomes `lately` means."""

# From the worst to the best, for z = 0, 1/4, 1/2, 3/4, 1.
_TASTE = ("hated", "disliked", "mixed", "liked", "loved")
# The outcome that did not happen, and the one that did.
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
    """Say a behaviour's value in a few coarse words; an unknown or non-finite one says nothing.

    The unit follows from the action: a price for cart, purchase and the like; a rating for rate and
    review; seconds for all others.
    """
    if value is None or not math.isfinite(value):
        return ""
    if action in PRICE_ACTIONS:
        return price_words(value)
    if action in RATING_ACTIONS:
        return rating_words(value)
    return duration_words(value)


def price_words(price: float) -> str:
    """Round a price to 1, 2 or 5 times a power of ten: "price 20"."""
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
    """Round a rating to a whole number within 0 to 10: "rating 4"."""
    return f"rating {round(min(10.0, max(0.0, rating)))}"


def duration_words(seconds: float) -> str:
    """Say a duration in seconds as one of nine: "half an hour" is 10 minutes up to 30."""
    return _DURATIONS[bisect_right(_DURATION_BOUNDS_S, seconds)]


def outcome_words(action: str, y: float | None, z: float | None) -> str:
    """Say what came of a behaviour, in the action's own word; an unknown outcome says nothing.

    y, z: in [0, 1]; z, where known, gives a finer word to actions that express taste.
    """
    if y is None:
        return ""
    if z is not None and action in _TASTE_ACTIONS:
        return _TASTE[round(min(1.0, max(0.0, z)) * (len(_TASTE) - 1))]
    return _OUTCOMES.get(action, _DEFAULT_OUTCOMES)[y >= 0.5]


class Habits(NamedTuple):
    """A user's outcomes in counts, over a window.

    known: how many behaviours have a known outcome; positive: how many of those have y >= 0.5;
    lately: the same of the newest RECENT known ones.
    """

    known: int
    positive: int
    lately: int


NO_HABITS = Habits(0, 0, 0)


class ItemCounts(NamedTuple):
    """An item's outcomes in counts, over all users. known: how many; positive: of those with y >= 0.5."""

    known: int
    positive: int

    def and_one(self, y: float) -> "ItemCounts":
        """Return the counts with one more outcome."""
        return ItemCounts(self.known + 1, self.positive + (y >= 0.5))


NO_OUTCOMES = ItemCounts(0, 0)


def count_habits(window: Iterable[float | None]) -> Habits:
    """Count the outcomes in the y of a window's behaviours, oldest first; None is not known yet."""
    known = [y >= 0.5 for y in window if y is not None]
    return Habits(len(known), sum(known), sum(known[-RECENT:]))


def habit_words(habits: Habits) -> str:
    """Say how a user's outcomes usually go: "user likes 65 percent of many, lately 80"; nothing known, nothing.

    Rates are rounded to 5 percent, and lately's, of at most ten, to 10.
    """
    if not habits.known:
        return ""
    rate = round(20 * habits.positive / habits.known) * 5
    text = f"{HABITS_START}{rate} percent of {_count_words(habits.known)}"
    if habits.known <= RECENT:
        return text
    return f"{text}, lately {round(10 * habits.lately / RECENT) * 10}"


def item_rate_words(item: ItemCounts) -> str:
    """Say how an item's outcomes usually go, over all users: "item liked by 65 percent of many"; none known, nothing.

    Rounded to 5 percent, so that what an item is worth is one of a hundred phrases.
    """
    if not item.known:
        return ""
    return f"{ITEM_START}{round(20 * item.positive / item.known) * 5} percent of {_count_words(item.known)}"


def _count_words(count: int) -> str:
    return ("1", "2", "few", "several", "many")[bisect_right((1, 2, 5, 15), count - 1)]
