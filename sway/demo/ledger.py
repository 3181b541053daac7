"""The demo's accounting: records and their results, the quality of scores, the latency. No I/O."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from model.metrics import auc
from schemas.records import BehaviorEvent, InfluenceScore, Outcome
from trainer.evaluation.baselines import ITEM_WEIGHT, USER_WEIGHT, MeanSoFar

Coordinates = tuple[str, int, int]


@dataclass(slots=True)
class ScoredEvent:
    """A scored event: the predictions made before its outcome was known, and the outcome."""

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
    """Counts every record of sway.events by its coordinates, to detect lost and duplicate results."""

    items: MeanSoFar = field(default_factory=lambda: MeanSoFar(ITEM_WEIGHT))
    users: MeanSoFar = field(default_factory=lambda: MeanSoFar(USER_WEIGHT))
    produced: set[Coordinates] = field(default_factory=set)
    ended: Counter[Coordinates] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    scores: int = 0
    dead_letters: int = 0
    scored_events: list[ScoredEvent] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    first_score_s: float | None = None
    last_score_s: float = 0.0
    versions: list[str] = field(default_factory=list)
    """The model versions of the scores, in order of first appearance."""
    _swap_gaps_s: list[float] = field(default_factory=list)
    _sent: dict[str, _Sent] = field(default_factory=dict)

    def learn(self, event: BehaviorEvent, outcome: Outcome) -> None:
        """Update the baselines with a known outcome."""
        self.items.learn(event.item_id, outcome.y)
        self.users.learn(event.user_id, outcome.y)

    def sending(self, event: BehaviorEvent, outcome: Outcome, now_s: float) -> None:
        """Record an event that is sent now, with the current predictions of the baselines."""
        self._sent[event.event_id] = _Sent(
            event, outcome, now_s, self.items.predict(event.item_id), self.users.predict(event.user_id)
        )

    def delivered(self, coordinates: Coordinates) -> None:
        """Record the coordinates of an acknowledged record."""
        self.produced.add(coordinates)

    def scored(self, score: InfluenceScore, now_s: float) -> Outcome | None:
        """Record a visible score; return the outcome to produce, or None if the event has none."""
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
        self.scored_events.append(
            ScoredEvent(sent.event, sent.outcome.y, score, sent.item_mean, sent.user_mean)
        )
        self.learn(sent.event, sent.outcome)
        return sent.outcome

    def rejected(self, coordinates: Coordinates, reason: str) -> None:
        """Record a visible dead letter."""
        self._end(*coordinates)
        self.dead_letters += 1
        self.reasons[reason] += 1

    def _end(self, topic: str, partition: int, offset: int) -> None:
        self.ended[(topic, partition, offset)] += 1

    @property
    def finished(self) -> int:
        """The number of records with a score or a dead letter."""
        return len(self.ended)

    @property
    def lost(self) -> int:
        """The number of records without a score or a dead letter."""
        return len(self.produced - set(self.ended))

    @property
    def duplicates(self) -> int:
        """The number of scores and dead letters beyond one per record."""
        return sum(self.ended.values()) - len(self.ended)

    def aucs(self, newest: int | None = None) -> dict[str, float]:
        """Return the AUC of the published influence and of both baselines, over all or the newest events.

        It may be called from the thread that draws the live view, while scores arrive.
        """
        judged = list(self.scored_events) if newest is None else self.scored_events[-newest:]
        liked = np.array([one.y >= 0.5 for one in judged], dtype=np.bool_)
        return {
            "auc_live": auc(np.array([one.score.influence for one in judged]), liked),
            "auc_item_mean": auc(np.array([one.item_mean for one in judged]), liked),
            "auc_user_mean": auc(np.array([one.user_mean for one in judged]), liked),
        }

    def auc_of_others(self, y_hat: Mapping[str, float]) -> float:
        """Return the AUC of another predictor's y_hat, by event id, over the scored events that it covers."""
        judged = [one for one in self.scored_events if one.event.event_id in y_hat]
        liked = np.array([one.y >= 0.5 for one in judged], dtype=np.bool_)
        return auc(np.array([y_hat[one.event.event_id] for one in judged]), liked)

    def auc_of(self, versions: Collection[str]) -> float:
        """Return the AUC of the influence published by these model versions."""
        judged = [one for one in self.scored_events if one.score.model_version in versions]
        liked = np.array([one.y >= 0.5 for one in judged], dtype=np.bool_)
        return auc(np.array([one.score.influence for one in judged]), liked)

    def scored_by(self, version: str) -> int:
        """Return the number of scores of a version for events with an outcome."""
        return sum(one.score.model_version == version for one in self.scored_events)

    def swap_gap_ms(self) -> float:
        """Return the longest wait for the first score after a model swap, in milliseconds; NaN without a swap.

        It is measured from the last score before the swap, or from the send of the event if that was later.
        """
        return max(self._swap_gaps_s, default=float("nan")) * 1000

    def latency_ms(self, quantile: float) -> float:
        """Return a quantile of the time from producing an event to seeing its score, in milliseconds."""
        latencies_s = list(self.latencies_s)  # a copy, because another thread appends
        return float(np.quantile(latencies_s, quantile) * 1000) if latencies_s else float("nan")
