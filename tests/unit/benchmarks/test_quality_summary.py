"""The summary of `make quality`: means over seeds, paired differences, and met or missed aims."""

import numpy as np
import pytest

from benchmarks.quality.runs import RUNS
from benchmarks.quality.summary import Scored, difference, rows, table, verdicts

COUNTS = "counts"


def scored(strength: float, seeds: int = 2, users: int = 40) -> Scored:
    """Return the predictions of a run on 1,000 rows. strength: how closely they follow the labels."""
    random = np.random.default_rng(0)
    y = (random.random(1000) < 0.5).astype(float)
    noise = random.normal(size=(seeds, 1000))
    y_hat = 1 / (1 + np.exp(-strength * (y - 0.5) - noise))
    return Scored(np.array([f"u{row % users}" for row in range(1000)]), y, y_hat, 0.5, 1.0)


def test_a_difference_compares_means_over_seeds() -> None:
    strong, weak = scored(2.0), scored(1.0)
    found, low, high = difference(strong, weak)
    assert found == pytest.approx(strong.aucs.mean() - weak.aucs.mean())
    assert 0 < low < found < high


def test_a_run_does_not_differ_from_itself() -> None:
    assert difference(scored(1.0), scored(1.0)) == (0.0, 0.0, 0.0)


def test_runs_of_different_rows_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different rows"):
        difference(scored(1.0), scored(1.0, users=20))


def test_every_aim_has_a_row_even_when_missed() -> None:
    predictions = {run.name: scored(1.0) for run in RUNS} | {COUNTS: scored(0.5)}
    found = rows(predictions, COUNTS, samples=50)
    assert {row.met for row in found if row.aim is None} == {None}
    by_name = {row.name: row for row in found}
    assert by_name["window state only: AUC"].met is False
    assert by_name["16 partitions - 1"].met is True
    # The interval contains 0.
    assert by_name["late: BERT tuned - off"].met is False
    report = verdicts(found)
    assert report.count("| no |") == sum(row.met is False for row in found)
    assert all(run.name in table(predictions) for run in RUNS)


def test_a_figure_without_its_run_is_neither_met_nor_missed() -> None:
    found = {
        row.name: row
        for row in rows({COUNTS: scored(0.5), "tower, window only": scored(1.0)}, COUNTS, samples=50)
    }
    assert found["window state only: AUC"].value is not None
    assert found["16 partitions - 1"].value is None
    assert found["16 partitions - 1"].met is None
    assert "| 16 partitions - 1 | not run |" in verdicts(list(found.values()))


def test_a_row_can_be_written_as_json() -> None:
    predictions = {run.name: scored(1.0) for run in RUNS} | {COUNTS: scored(0.5)}
    plain = [row.to_plain() for row in rows(predictions, COUNTS, samples=50)]
    assert all({"name", "value", "aim", "met"} <= row.keys() for row in plain)
