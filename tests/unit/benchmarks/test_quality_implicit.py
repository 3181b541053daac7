"""The implicit labels of `make quality`: delays, order of records, base rates and comparisons."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import summary
from benchmarks.quality.implicit import SIDES, Parts, SideResult, figures, rates_table, scored_by_all
from benchmarks.quality.implicit_examples import Side
from benchmarks.quality.implicit_labels import (
    HORIZON_S,
    MEAN_DELAY_S,
    Negatives,
    PartRates,
    delays_ms,
    key_of,
    records,
)
from benchmarks.quality.summary import SummaryRow
from schemas.records import BehaviorEvent, Outcome
from sway.demo.movielens import Pair
from trainer.dataset import Example

HOUR_MS = 3_600_000


def pair(number: int, y: float, at_ms: int | None = None) -> Pair:
    """Return an event of its own user and the event's outcome. Events are an hour apart by default."""
    at_ms = number * HOUR_MS if at_ms is None else at_ms
    event = BehaviorEvent(f"e{number}", f"u{number}", "watch", at_ms, item_id="i")
    return event, Outcome(event.event_id, event.user_id, y, at_ms, z=0.75)


def example(of: Pair, y: float) -> Example:
    """Return the example of the pair's event with label y."""
    event, _ = of
    return Example("", "watch", y, None, event.occurred_at, event.user_id, event.item_id)


def test_delays_are_exponential_and_none_reaches_the_horizon() -> None:
    drawn = delays_ms(200_000)
    assert drawn.min() >= 1
    assert drawn.max() < HORIZON_S * 1000
    ratio = HORIZON_S / MEAN_DELAY_S
    # The mean and the median of an exponential distribution truncated at the horizon.
    mean_s = MEAN_DELAY_S - HORIZON_S / np.expm1(ratio)
    assert drawn.mean() == pytest.approx(mean_s * 1000, rel=0.01)
    median_s = -MEAN_DELAY_S * np.log(1 - (1 - np.exp(-ratio)) / 2)
    assert np.median(drawn) == pytest.approx(median_s * 1000, rel=0.01)


def test_delays_depend_on_the_seed() -> None:
    assert np.array_equal(delays_ms(50, seed=3), delays_ms(50, seed=3))
    assert not np.array_equal(delays_ms(50, seed=3), delays_ms(50, seed=4))


def test_only_likes_are_reported_after_their_delay() -> None:
    pairs = [pair(0, 1.0, 0), pair(1, 0.0, 100), pair(2, 1.0, 200)]
    reported = records(pairs, np.array([250, 10, 20]), Negatives.EXPIRED)
    assert [(one.at_ms, type(one.record).__name__) for one in reported] == [
        (0, "BehaviorEvent"),
        (100, "BehaviorEvent"),
        (200, "BehaviorEvent"),
        (220, "Outcome"),
        (250, "Outcome"),
    ]
    outcomes = [one.record for one in reported if isinstance(one.record, Outcome)]
    assert [(one.event_id, one.y, one.z) for one in outcomes] == [("e2", 1.0, None), ("e0", 1.0, None)]
    assert all(
        isinstance(one.record, BehaviorEvent) or one.record.observed_at == one.at_ms for one in reported
    )


def test_the_label_variants_differ_only_in_their_negatives() -> None:
    pairs = [pair(number, float(number % 3 == 0)) for number in range(30)]
    negative = {event.event_id for event, outcome in pairs if outcome.y < 0.5}
    delays = delays_ms(30)
    implicit, explicit, late = (records(pairs, delays, negatives) for negatives in Negatives)
    for reported in (explicit, late):
        assert [one for one in reported if one.record.event_id not in negative or one in implicit] == implicit
        assert len(reported) == len(implicit) + len(negative)
    after = {one.record.event_id: one.at_ms for one in late if isinstance(one.record, Outcome)}
    within = {event.event_id: after[event.event_id] - event.occurred_at for event, _ in pairs}
    assert {within[event_id] for event_id in negative} == {HORIZON_S * 1000 - 1}


def test_rates_count_missing_and_wrong_labels() -> None:
    pairs = [pair(0, 1.0), pair(1, 0.0), pair(2, 1.0), pair(3, 1.0)]
    labels = {key_of(pairs[0][0]): 1.0, key_of(pairs[1][0]): 1.0, key_of(pairs[2][0]): 0.0}
    found = PartRates.of(pairs, labels)
    assert (found.events, found.examples, found.without_example, found.wrong) == (4, 3, 1, 2)
    assert found.rate == pytest.approx(2 / 3)
    assert found.true_rate == pytest.approx(3 / 4)


def test_parts_follow_the_order_of_events() -> None:
    pairs = [pair(number, 1.0) for number in range(10)]
    found = {key_of(one[0]): example(one, 1.0) for one in reversed(pairs) if one[0].event_id != "e4"}
    parts = Parts(pairs, 6, 2).of(found)
    assert {name: [one.user_id for one in part] for name, part in parts.items()} == {
        "training": ["u0", "u1", "u2", "u3", "u5"],
        "validation": ["u6", "u7"],
        "test": ["u8", "u9"],
    }


def test_sides_are_compared_on_the_events_that_all_scored() -> None:
    pairs = [pair(0, 1.0), pair(1, 0.0), pair(2, 1.0)]
    keys = [key_of(event) for event, _ in pairs]
    predictions = {"a": {keys[0]: 0.9, keys[1]: 0.2}, "b": {keys[2]: 0.5, keys[1]: 0.3, keys[0]: 0.1}}
    found = scored_by_all(pairs, predictions)
    assert found["a"].users.tolist() == found["b"].users.tolist() == ["u0", "u1"]
    assert found["a"].y.tolist() == [1.0, 0.0]
    assert (found["a"].aucs[0], found["b"].aucs[0]) == (1.0, 0.0)


def test_every_figure_has_a_row_before_its_side_is_scored() -> None:
    pairs = [pair(number, float(number % 2)) for number in range(40)]
    y_hat = {key_of(event): outcome.y * 0.1 + number * 0.001 for number, (event, outcome) in enumerate(pairs)}
    worse = {key: value * (number % 7) for number, (key, value) in enumerate(y_hat.items())}
    rates = {"test": PartRates(40, 38, 0.5, 0.52, 1)}
    judged = {SIDES[0]: SideResult(rates, worse), SIDES[1]: SideResult(rates, y_hat)}
    found = {row.name: row for row in figures(judged, pairs, samples=50)}
    assert found["implicit-4 - explicit-4"].met is False
    assert found["implicit-4 - explicit-at-horizon-4"].value is None
    assert found["implicit-1 - explicit-1"].value is None
    assert found["implicit-1 - explicit-1"].aim == ">= -0.01"
    assert found["implicit-4: base rate of test - true"].met is False
    assert found["implicit-4: events without an example"].value == 2
    assert found["implicit-4: examples with a wrong label"].value == 1


def test_the_table_names_sides_and_parts() -> None:
    judged = {Side(Negatives.EXPIRED, 4): SideResult({"test": PartRates(1_200, 1_190, 0.5, 0.51, 0)}, {})}
    assert "| implicit-4 | test | 1,200 | 10 | 0 | 0.5000 | 0.5100 |" in rates_table(judged)


def test_writing_a_summary_part_keeps_the_other_parts(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps([{"name": "written before parts existed", "value": 1.0}]))
    summary.keep(path, "implicit", [SummaryRow("a", 0.12345), SummaryRow("b", 7)])
    summary.keep(path, "implicit", [SummaryRow("a", 0.5, aim=">= 0.4", met=True)])
    plain = json.loads(path.read_text())
    assert [row["name"] for row in plain] == ["written before parts existed", "a"]
    assert (plain[1]["part"], plain[1]["value"], plain[1]["met"]) == ("implicit", 0.5, True)
    summary.keep(path, summary.FIRST_PART, [SummaryRow("c")])
    assert [row["name"] for row in json.loads(path.read_text())] == ["a", "c"]


def test_a_count_is_shown_without_decimals() -> None:
    table = summary.verdicts([SummaryRow("lost", 1_234), SummaryRow("rate", 0.1234)])
    assert "| lost | 1,234 |" in table
    assert "| rate | .1234 |" in table
