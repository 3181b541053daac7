"""The demo's book-keeping of swaps."""

import math
from collections.abc import Iterator

from schemas.records import BehaviorEvent, InfluenceScore, Outcome, Source
from sway.demo.ledger import Ledger, ScoredEvent


def score(
    ledger: Ledger, number: int, version: str, influence: float, y: float, now_s: float, sent_s: float = 0.0
) -> None:
    event = BehaviorEvent(f"e{number}", "ann", "watch", number, item_id="i")
    ledger.sending(event, Outcome(event.event_id, "ann", y, number), sent_s or now_s - 0.1)
    source = Source("t.events", 0, number)
    ledger.delivered(("t.events", 0, number))
    made = InfluenceScore(
        event.event_id,
        "ann",
        "i",
        influence,
        influence,
        influence,
        version,
        "fp32",
        0,
        False,
        False,
        source,
        0,
        0,
        0,
    )
    ledger.scored(made, now_s)


def test_the_gap_is_between_the_last_score_before_a_swap_and_the_first_after() -> None:
    ledger = Ledger()
    assert math.isnan(ledger.swap_gap_ms())
    score(ledger, 0, "v1", 0.9, 1.0, 10.0)
    score(ledger, 1, "v1", 0.8, 0.0, 15.0)
    assert math.isnan(ledger.swap_gap_ms())
    score(ledger, 2, "v2", 0.1, 0.0, 15.25, sent_s=14.5)
    score(ledger, 3, "v1", 0.7, 1.0, 17.0)  # of a unit that was scored before: no swap
    score(ledger, 4, "v2", 0.9, 1.0, 19.0)
    assert ledger.swap_gap_ms() == 250.0
    assert ledger.versions == ["v1", "v2"]
    assert (ledger.scored_by("v1"), ledger.scored_by("v2")) == (3, 2)
    assert (ledger.auc_of(["v1"]), ledger.auc_of(["v2"])) == (0.5, 1.0)
    assert (ledger.lost, ledger.duplicates) == (0, 0)


def test_a_pause_before_a_swap_is_no_gap() -> None:
    ledger = Ledger()
    score(ledger, 0, "v1", 0.9, 1.0, 10.0)
    score(ledger, 1, "v2", 0.8, 1.0, 90.5, sent_s=90.0)
    assert ledger.swap_gap_ms() == 500.0


def test_others_are_judged_on_the_events_that_they_predicted_alone() -> None:
    ledger = Ledger()
    for number, y in enumerate((1.0, 0.0, 1.0, 0.0)):
        score(ledger, number, "v1", 0.5, y, 10.0 + number)
    assert ledger.auc_of_others({"e0": 0.9, "e1": 0.1}) == 1.0
    assert ledger.auc_of_others({"e0": 0.1, "e1": 0.9, "never sent": 0.5}) == 0.0
    assert math.isnan(ledger.auc_of_others({}))


class _Growing(list[ScoredEvent]):
    """Scores that arrive while the live view reads them: each pass over it finds one more at its end."""

    def __iter__(self) -> Iterator[ScoredEvent]:
        yield from list(super().__iter__())
        self.append(self[0])


def test_aucs_are_of_one_moment_while_scores_arrive() -> None:
    ledger = Ledger()
    score(ledger, 0, "v1", 0.9, 1.0, 10.0)
    score(ledger, 1, "v1", 0.1, 0.0, 11.0)
    ledger.scored_events = _Growing(ledger.scored_events)
    assert ledger.aucs()["auc_live"] == 1.0
