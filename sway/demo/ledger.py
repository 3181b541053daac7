"""The demo's book-keeping: what was produced, what became of it, how good and how fast it was. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from model.metrics import auc
from schemas.records import BehaviorEvent, InfluenceScore, Outcome
from trainer.evaluation.baselines import ITEM_WEIGHT, USER_WEIGHT, MeanSoFar

Coordinates = tuple[str, int, int]


@dataclass(slots=True)
class Judged:
    """One rated event: what was predicted before its outcome was known, and the outcome."""

    event: BehaviorEvent
    y: float
    score: InfluenceScore
    item_mean: float
    user_mean: float


@dataclass(slots=True)
class _Sent:
    event: BehaviorEvent
    outcome: Outcome
    sent_s: float
    item_mean: float
    user_mean: float


@dataclass(slots=True)
class Ledger:
    """Counts every record of sway.events by its coordinates, so that nothing lost or doubled can hide."""

    items: MeanSoFar = field(default_factory=lambda: MeanSoFar(ITEM_WEIGHT))
    users: MeanSoFar = field(default_factory=lambda: MeanSoFar(USER_WEIGHT))
    produced: set[Coordinates] = field(default_factory=set)
    ended: Counter[Coordinates] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    scores: int = 0
    dead_letters: int = 0
    judged: list[Judged] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    first_score_s: float | None = None
    last_score_s: float = 0.0
    versions: list[str] = field(default_factory=list)
    """The model versions of the scores, in the order in which they took over."""
    _swap_gaps_s: list[float] = field(default_factory=list)
    _sent: dict[str, _Sent] = field(default_factory=dict)

    def learn(self, event: BehaviorEvent, outcome: Outcome) -> None:
        """Let the baselines take in an outcome that is known."""
        self.items.learn(event.item_id, outcome.y)
        self.users.learn(event.user_id, outcome.y)

    def sending(self, event: BehaviorEvent, outcome: Outcome, now_s: float) -> None:
        """Note an event that goes out now, with what the baselines say of it now."""
        self._sent[event.event_id] = _Sent(
            event, outcome, now_s, self.items.predict(event.item_id), self.users.predict(event.user_id)
        )

    def delivered(self, coordinates: Coordinates) -> None:
        """Note where a record came to lie."""
        self.produced.add(coordinates)

    def scored(self, score: InfluenceScore, now_s: float) -> Outcome | None:
        """Note a visible score; return the outcome that may be told now, if it is one of ours."""
        self._end(score.source.topic, score.source.partition, score.source.offset)
        self.scores += 1
        self.first_score_s = self.first_score_s or now_s
        sent = self._sent.pop(score.event_id, None)
        if score.model_version not in self.versions:
            if self.versions:
                asked_s = now_s if sent is None else sent.sent_s
                self._swap_gaps_s.append(now_s - max(asked_s, self.last_score_s))
            self.versions.append(score.model_version)
        self.last_score_s = now_s
        if sent is None:
            return None
        self.latencies_s.append(now_s - sent.sent_s)
        self.judged.append(Judged(sent.event, sent.outcome.y, score, sent.item_mean, sent.user_mean))
        self.learn(sent.event, sent.outcome)
        return sent.outcome

    def rejected(self, coordinates: Coordinates, reason: str) -> None:
        """Note a visible dead letter."""
        self._end(*coordinates)
        self.dead_letters += 1
        self.reasons[reason] += 1

    def _end(self, topic: str, partition: int, offset: int) -> None:
        self.ended[(topic, partition, offset)] += 1

    @property
    def finished(self) -> int:
        """How many records have become a score or a dead letter."""
        return len(self.ended)

    @property
    def lost(self) -> int:
        """Records without either."""
        return len(self.produced - set(self.ended))

    @property
    def duplicates(self) -> int:
        """Scores and dead letters beyond one a record."""
        return sum(self.ended.values()) - len(self.ended)

    def aucs(self, newest: int | None = None) -> dict[str, float]:
        """Return the AUC of the published influence and of both baselines, over all or the newest so many.

        Safe to call from the thread that draws the live view, while scores arrive.
        """
        judged = list(self.judged) if newest is None else self.judged[-newest:]
        liked = np.array([one.y >= 0.5 for one in judged], dtype=np.bool_)
        return {
            "auc_live": auc(np.array([one.score.influence for one in judged]), liked),
            "auc_item_mean": auc(np.array([one.item_mean for one in judged]), liked),
            "auc_user_mean": auc(np.array([one.user_mean for one in judged]), liked),
        }

    def auc_of_others(self, y_hat: Mapping[str, float]) -> float:
        """Return the AUC of somebody else's y_hat, by event id, over the judged events that it has."""
        judged = [one for one in self.judged if one.event.event_id in y_hat]
        liked = np.array([one.y >= 0.5 for one in judged], dtype=np.bool_)
        return auc(np.array([y_hat[one.event.event_id] for one in judged]), liked)

    def auc_of(self, versions: Collection[str]) -> float:
        """Return the AUC of what these model versions published."""
        judged = [one for one in self.judged if one.score.model_version in versions]
        liked = np.array([one.y >= 0.5 for one in judged], dtype=np.bool_)
        return auc(np.array([one.score.influence for one in judged]), liked)

    def scored_by(self, version: str) -> int:
        """Return how many judged scores a version has published."""
        return sum(one.score.model_version == version for one in self.judged)

    def swap_gap_ms(self) -> float:
        """Return the longest that the first score after a swap was waited for; NaN without a swap.

        From the last score before it, or from when its event was sent if that was later.
        """
        return max(self._swap_gaps_s, default=float("nan")) * 1000

    def latency_ms(self, quantile: float) -> float:
        """Return a quantile of the time from producing an event to seeing its score, in milliseconds."""
        latencies_s = list(self.latencies_s)  # one moment of it: scores arrive on another thread
        return float(np.quantile(latencies_s, quantile) * 1000) if latencies_s else float("nan")
