"""LightGBM on streaming counts: a strong baseline that reads no text.

The features of an event depend only on earlier events and their outcomes. Trees are trained on the training part with
early stopping on the validation part; the counts are updated through the test part, as in a worker.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import lightgbm
import numpy as np
from numpy.typing import NDArray

from schemas.records import BehaviorEvent, Outcome

FloatArray = NDArray[np.float64]
Pair = tuple[BehaviorEvent, Outcome]

_DAY_MS = 86_400_000
_GENRES = frozenset(
    {"Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"}
    | {"Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"}
)
_ROUNDS = 2000
_PATIENCE = 100
SETTINGS = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 31,
    "min_child_samples": 60,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 0,
}


@dataclass(slots=True)
class _Counts:
    """Counts of one user, item, or user and genre."""

    rows: int = 0
    likes: float = 0.0
    affinity: float = 0.0
    first_ms: int = 0
    last_ms: int = 0
    lately: deque[float] = field(default_factory=lambda: deque(maxlen=10))

    def learn(self, event: BehaviorEvent, outcome: Outcome) -> None:
        self.first_ms = self.first_ms or event.occurred_at
        self.last_ms = event.occurred_at
        self.rows += 1
        self.likes += outcome.y or 0.0
        self.affinity += outcome.z or 0.0
        self.lately.append(outcome.z or 0.0)

    def rate(self, overall: float, weight: float) -> float:
        return (self.likes + weight * overall) / (self.rows + weight)

    def mean_affinity(self, overall: float, weight: float) -> float:
        return (self.affinity + weight * overall) / (self.rows + weight)


class StreamingFeatures:
    """Features of an event from counts that are updated with each outcome."""

    def __init__(self) -> None:
        self._users: defaultdict[str, _Counts] = defaultdict(_Counts)
        self._items: defaultdict[str, _Counts] = defaultdict(_Counts)
        self._tastes: defaultdict[tuple[str, str], _Counts] = defaultdict(_Counts)
        self._all = _Counts()
        # Of an item: sum of differences to its users' means.
        self._bias: defaultdict[str, float] = defaultdict(float)
        # Of a user: sum of differences to the items' means.
        self._strictness: defaultdict[str, float] = defaultdict(float)

    def of(self, event: BehaviorEvent) -> list[float]:
        """Return an event's features, which depend only on the past."""
        user, item = self._users[event.user_id], self._items[event.item_id]
        total = max(self._all.rows, 1)
        like, affinity = self._all.likes / total, self._all.affinity / total
        genres, year = _genres_and_year(event.item_text)
        tastes = [self._tastes[event.user_id, genre] for genre in genres]
        user_rate, user_affinity = user.rate(like, 5), user.mean_affinity(affinity, 5)
        item_bias = self._bias[event.item_id] / (item.rows + 10)
        strictness = self._strictness[event.user_id] / (user.rows + 5)
        return [
            user.rows,
            user_rate,
            user_affinity,
            float(np.mean(user.lately)) if user.lately else affinity,
            user.lately[-1] if user.lately else np.nan,
            (event.occurred_at - user.last_ms) / _DAY_MS if user.rows else np.nan,
            (event.occurred_at - user.first_ms) / _DAY_MS if user.rows else np.nan,
            item.rows,
            item.rate(like, 5),
            item.mean_affinity(affinity, 5),
            float(np.mean(item.lately)) if item.lately else affinity,
            (event.occurred_at - item.last_ms) / _DAY_MS if item.rows else np.nan,
            item_bias,
            strictness,
            affinity + item_bias + strictness,
            float(np.mean([taste.mean_affinity(user_affinity, 3) for taste in tastes])) if tastes else np.nan,
            max((taste.mean_affinity(user_affinity, 3) for taste in tastes), default=np.nan),
            min((taste.mean_affinity(user_affinity, 3) for taste in tastes), default=np.nan),
            float(sum(taste.rows for taste in tastes)),
            year,
            float(len(genres)),
        ]

    def learn(self, event: BehaviorEvent, outcome: Outcome) -> None:
        """Update the counts with an event's outcome."""
        user, item = self._users[event.user_id], self._items[event.item_id]
        affinity = self._all.affinity / max(self._all.rows, 1)
        z = outcome.z or 0.0
        self._bias[event.item_id] += z - user.mean_affinity(affinity, 5)
        self._strictness[event.user_id] += z - item.mean_affinity(affinity, 5)
        known = [self._all, user, item]
        known += [self._tastes[event.user_id, genre] for genre in _genres_and_year(event.item_text)[0]]
        for counts in known:
            counts.learn(event, outcome)


def streaming_rows(pairs: Sequence[Pair]) -> Iterator[list[float]]:
    """Yield each event's features, with all earlier outcomes known."""
    features = StreamingFeatures()
    for event, outcome in pairs:
        yield features.of(event)
        features.learn(event, outcome)


def predict(pairs: Sequence[Pair], train: int, valid: int) -> FloatArray:
    """Return y_hat of the pairs after the oldest train + valid ones, in order."""
    x = np.array(list(streaming_rows(pairs)))
    y = np.array([outcome.y for _, outcome in pairs])
    fitted = lightgbm.Dataset(x[:train], y[:train])
    judged = lightgbm.Dataset(x[train : train + valid], y[train : train + valid], reference=fitted)
    stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
    booster = lightgbm.train(SETTINGS, fitted, _ROUNDS, valid_sets=[judged], callbacks=[stop])
    predicted: FloatArray = np.asarray(booster.predict(x[train + valid :]), dtype=np.float64)
    return predicted


def _genres_and_year(item_text: str) -> tuple[list[str], float]:
    """Return the genres at the end of an item's text and the year before them, NaN if there is none."""
    words = item_text.split()
    genres: list[str] = []
    while words and words[-1] in _GENRES:
        genres.append(words.pop())
    year = float(words[-1]) if words and words[-1].isdigit() and len(words[-1]) == 4 else float("nan")
    return genres, year
