"""The demo's ledger of scores and model swaps."""

import math
from collections.abc import Iterator

from schemas.records import BehaviorEvent, InfluenceScore, Outcome, Source
from sway.demo.ledger import Ledger, ScoredEvent


def score(
    ledger: Ledger,
    number: int,
    *,
    version: str,
    influence: float,
    y: float,
    now_s: float,
    sent_s: float | None = None,
) -> None:
    """Record one event with its outcome, its delivery and its score. sent_s: by default 0.1 s before now_s."""
    event = BehaviorEvent(f"e{number}", "ann", "watch", number, item_id="i")
    ledger.sending(
        event, Outcome(event.event_id, "ann", y, number), now_s - 0.1 if sent_s is None else sent_s
    )
    source = Source("t.events", 0, number)
    ledger.delivered(("t.events", 0, number))
    made = InfluenceScore(
        event_id=event.event_id,
        user_id="ann",
        item_id="i",
        y_hat=influence,
        z_hat=influence,
        influence=influence,
        model_version=version,
        dtype="fp32",
        behaviours=0,
        truncated=False,
        duplicate=False,
        source=source,
        outcomes_next=0,
        occurred_at=0,
        scored_at=0,
    )
    ledger.scored(made, now_s)


def test_the_swap_gap_is_between_scores_of_different_versions() -> None:
    ledger = Ledger()
    assert math.isnan(ledger.swap_gap_ms())
    score(ledger, 0, version="v1", influence=0.9, y=1.0, now_s=10.0)
    score(ledger, 1, version="v1", influence=0.8, y=0.0, now_s=15.0)
    assert math.isnan(ledger.swap_gap_ms())
    score(ledger, 2, version="v2", influence=0.1, y=0.0, now_s=15.25, sent_s=14.5)
    # A unit that v1 scored before the swap arrives late. It is not another swap.
    score(ledger, 3, version="v1", influence=0.7, y=1.0, now_s=17.0)
    score(ledger, 4, version="v2", influence=0.9, y=1.0, now_s=19.0)
    assert ledger.swap_gap_ms() == 250.0
    assert ledger.versions == ["v1", "v2"]
    assert (ledger.scored_by("v1"), ledger.scored_by("v2")) == (3, 2)
    assert (ledger.auc_of(["v1"]), ledger.auc_of(["v2"])) == (0.5, 1.0)
    assert (ledger.lost, ledger.duplicates) == (0, 0)


def test_idle_time_before_a_swap_is_not_in_the_gap() -> None:
    ledger = Ledger()
    score(ledger, 0, version="v1", influence=0.9, y=1.0, now_s=10.0)
    score(ledger, 1, version="v2", influence=0.8, y=1.0, now_s=90.5, sent_s=90.0)
    assert ledger.swap_gap_ms() == 500.0


def test_other_predictors_are_judged_on_their_predicted_events() -> None:
    ledger = Ledger()
    for number, y in enumerate((1.0, 0.0, 1.0, 0.0)):
        score(ledger, number, version="v1", influence=0.5, y=y, now_s=10.0 + number)
    assert ledger.auc_of_others({"e0": 0.9, "e1": 0.1}) == 1.0
    assert ledger.auc_of_others({"e0": 0.1, "e1": 0.9, "never sent": 0.5}) == 0.0
    assert math.isnan(ledger.auc_of_others({}))


class _GrowingList(list[ScoredEvent]):
    """A list that grows by one score after each iteration, as if a score arrived during a read."""

    def __iter__(self) -> Iterator[ScoredEvent]:
        yield from list(super().__iter__())
        self.append(self[0])


def test_aucs_use_one_snapshot_while_scores_arrive() -> None:
    ledger = Ledger()
    score(ledger, 0, version="v1", influence=0.9, y=1.0, now_s=10.0)
    score(ledger, 1, version="v1", influence=0.1, y=0.0, now_s=11.0)
    ledger.scored_events = _GrowingList(ledger.scored_events)
    assert ledger.aucs()["auc_live"] == 1.0
