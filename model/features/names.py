"""The features in order. A change of a feature, its order or its scale requires a new version."""

from enum import StrEnum
from typing import NamedTuple

FEATURES_VERSION = 1
"""The version of the features, stored with models and examples. Values of different versions are not comparable."""


class Group(StrEnum):
    """The data source of a feature, so that a model can be trained and evaluated without a source."""

    ITEM = "item"
    WINDOW = "window"
    TIME = "time"
    TEXT = "text"
    ITEM_VECTORS = "item_vectors"
    TOTALS = "totals"


class Feature(NamedTuple):
    """A feature: its name, group and meaning."""

    name: str
    group: Group
    meaning: str


FEATURES = (
    Feature("item_outcomes", Group.ITEM, "log(1 + outcomes of the item in this partition)"),
    Feature("item_mean", Group.ITEM, "mean grade of all items + the item's bias, shrunk to the checkpoint's"),
    Feature("item_rate", Group.ITEM, "share of positive outcomes of the item, shrunk to item_mean"),
    Feature("item_net", Group.ITEM, "mean grade of the item less its users' own means, shrunk to 0"),
    Feature("item_recent", Group.ITEM, "mean of the item's last ten grades, shrunk to item_mean"),
    Feature("item_gap", Group.ITEM, "log(1 + days since the item's last outcome); 0 without one"),
    Feature("item_prior", Group.ITEM, "the item's bias in the checkpoint"),
    Feature("item_prior_outcomes", Group.ITEM, "log(1 + outcomes of the item when the checkpoint was made)"),
    Feature("known", Group.WINDOW, "log(1 + outcomes known in the window)"),
    Feature("pending", Group.WINDOW, "log(1 + behaviours of the window without an outcome)"),
    Feature("mean", Group.WINDOW, "mean grade in the window, shrunk to the mean of all"),
    Feature("rate", Group.WINDOW, "share of positive outcomes in the window, shrunk to mean"),
    Feature("spread", Group.WINDOW, "standard deviation of the grades in the window"),
    Feature("share_high", Group.WINDOW, "share of grades above .9 in the window"),
    Feature("share_low", Group.WINDOW, "share of grades below .3 in the window"),
    Feature("bias", Group.WINDOW, "mean residual in the window, shrunk to 0"),
    Feature("bias_last_5", Group.WINDOW, "mean residual of the last 5 known outcomes, shrunk to 0"),
    Feature("bias_last_20", Group.WINDOW, "mean residual of the last 20 known outcomes, shrunk to 0"),
    Feature("bias_decayed", Group.WINDOW, "mean residual, each outcome counting .9 of the next"),
    Feature("last", Group.WINDOW, "the last known grade; without one the mean of all"),
    Feature("last_3", Group.WINDOW, "mean of the last 3 known grades; without any the mean of all"),
    Feature("expected", Group.WINDOW, "item_mean + bias"),
    Feature("gap", Group.TIME, "log(1 + seconds since the behaviour before); 0 without one"),
    Feature("same_second", Group.TIME, "log(1 + behaviours of the window in the same second)"),
    Feature("last_minute", Group.TIME, "log(1 + behaviours of the window in the minute before)"),
    Feature("window_days", Group.TIME, "log(1 + days since the oldest behaviour of the window)"),
    Feature("text_near", Group.TEXT, "residuals of behaviours of very similar text (tau .05), net of bias"),
    Feature("text_wide", Group.TEXT, "residuals of behaviours of similar text (tau .15), net of bias"),
    Feature("text_closest", Group.TEXT, "the largest cosine of a known behaviour's text with the one scored"),
    Feature("text_at_closest", Group.TEXT, "mean residual at that cosine (within .001), net of bias"),
    Feature("like_sum", Group.ITEM_VECTORS, "sum of residuals, weighted by the product of item vectors"),
    Feature("like_weight", Group.ITEM_VECTORS, "sum of the absolute weights"),
    Feature("like_mean", Group.ITEM_VECTORS, "the first over the second, shrunk to 0"),
    Feature(
        "like_folded", Group.ITEM_VECTORS, "ridge regression of residuals on item vectors, at the item's"
    ),
    Feature("like_popularity", Group.ITEM_VECTORS, "mean item_prior_outcomes of the window's items"),
    Feature("total_known", Group.TOTALS, "log(1 + all outcomes of the user so far)"),
    Feature("total_rate", Group.TOTALS, "share of positive outcomes of all, shrunk to the mean of all"),
    Feature("total_bias", Group.TOTALS, "mean residual of all, shrunk to 0"),
    Feature("total_spread", Group.TOTALS, "root mean square of the residuals of all"),
    Feature("total_bias_slow", Group.TOTALS, "mean residual, each outcome counting .98 of the next"),
    Feature("total_expected", Group.TOTALS, "item_mean + total_bias"),
    Feature("total_days", Group.TOTALS, "log(1 + days since the user's first behaviour)"),
)

NAMES = tuple(feature.name for feature in FEATURES)


def columns(*groups: Group) -> list[int]:
    """Return the indices of the features of some groups, ascending."""
    return [place for place, feature in enumerate(FEATURES) if feature.group in groups]
