"""Metrics with confidence intervals, and baselines."""

import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from model import metrics
from trainer.dataset import Example
from trainer.evaluation.baselines import ITEM_WEIGHT, USER_WEIGHT, baselines
from trainer.evaluation.evaluation import evaluate
from trainer.evaluation.resampling import WeightedAuc, draws, units

Floats = NDArray[np.float64]


def rows(
    count: int, users: int = 40, seed: int = 0
) -> tuple[Floats, Floats, Floats, Floats, NDArray[np.str_]]:
    """Return y, z, y_hat, z_hat and user ids. Each user has its own taste; every fifth z is unknown."""
    random = np.random.default_rng(seed)
    user = random.integers(0, users, count)
    taste = 0.6 + 0.25 * random.standard_normal(users)[user]
    y = (random.random(count) < taste).astype(np.float64)
    y_hat = np.round(0.6 + 0.2 * (y - 0.6) + 0.2 * random.standard_normal(count), 2)
    z = np.where(np.arange(count) % 5 == 0, np.nan, y)
    return y, z, y_hat, y_hat / 2, user.astype(np.str_)


def test_each_figure_is_the_plain_metric_of_all_rows() -> None:
    y, z, y_hat, z_hat, users = rows(600)
    found = evaluate(y, z, y_hat, z_hat, users, lam=0.5, samples=20)
    positive = y >= 0.5
    counted = metrics.confusion(y_hat, positive)
    known = np.isfinite(z)
    z_squares = np.where(known, (z_hat - y) ** 2, 0)
    expected = {
        "auc": metrics.auc(y_hat, positive),
        "influence_auc": metrics.auc(np.clip((y_hat + 0.5 * z_hat) / 1.5, 0, 1).astype(np.float32), positive),
        "mse": metrics.mse(y_hat, y),
        "mse_z": metrics.mse(z_hat[known], z[known]),
        "loss": float(np.mean((y_hat - y) ** 2 + 0.5 * z_squares)),
        "log_loss": metrics.log_loss(y_hat, y),
        "calibration_error": metrics.calibration_error(y_hat, y),
        "accuracy": counted.accuracy,
        "precision": counted.precision,
        "recall": counted.recall,
        "f1": counted.f1,
        "positive_rate": float(y.mean()),
    }
    assert {name: metric.value for name, metric in found.metrics.items()} == pytest.approx(expected)
    assert all(m.low <= m.value <= m.high for n, m in found.metrics.items() if n != "calibration_error")
    assert (found.drawn, found.units) == ("users", 40)


def test_a_weighted_sample_equals_repeated_rows() -> None:
    y, _, y_hat, _, _ = rows(200)
    positive = y >= 0.5
    counts = next(draws(units(None, 200), 5, seed=3))
    repeated = [np.repeat(np.arange(200), sample.astype(int)) for sample in counts]
    expected = [metrics.auc(y_hat[places], positive[places]) for places in repeated]
    assert WeightedAuc(y_hat, positive)(counts).tolist() == pytest.approx(expected)


def test_the_width_of_an_interval_matches_theory() -> None:
    y, _, y_hat, _, _ = rows(4000, seed=1)
    found = evaluate(y, None, y_hat, None, None, samples=1000).metrics["positive_rate"]
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(y.var() / len(y)), rel=0.1)


def test_drawing_users_widens_intervals_of_correlated_rows() -> None:
    y, _, y_hat, _, users = rows(4000, users=30)
    by_rows = evaluate(y, None, y_hat, None, None).metrics["positive_rate"]
    by_users = evaluate(y, None, y_hat, None, users).metrics["positive_rate"]
    assert by_users.high - by_users.low > 2 * (by_rows.high - by_rows.low)


def test_without_users_rows_are_drawn() -> None:
    y, _, y_hat, _, _ = rows(100)
    for ids in (None, np.full(100, "")):
        found = evaluate(y, None, y_hat, None, ids, samples=20)
        assert (found.drawn, found.units) == ("rows", 100)
        assert "loss" not in found.metrics


def test_a_single_class_has_no_auc() -> None:
    found = evaluate(np.ones(50), None, np.linspace(0, 0.4, 50), None, None, samples=20)
    plain = json.loads(json.dumps(found.to_plain(), allow_nan=False))
    assert plain["metrics"]["auc"] == {"value": None, "low": None, "high": None}
    assert plain["metrics"]["precision"]["value"] is None
    assert "auc" not in found.values()
    assert found.values()["recall"] == 0.0


def test_the_same_seed_gives_the_same_intervals() -> None:
    y, z, y_hat, z_hat, users = rows(300)
    first, again, other = (evaluate(y, z, y_hat, z_hat, users, samples=50, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.metrics["auc"].low != other.metrics["auc"].low


def test_ten_thousand_rows_are_drawn_five_hundred_times_in_seconds() -> None:
    y, z, y_hat, z_hat, users = rows(10_000, users=200)
    began = time.process_time()
    evaluate(y, z, y_hat, z_hat, users, lam=0.5, samples=500)
    # About one second; the rest is for a busy machine.
    assert time.process_time() - began < 15


def test_invalid_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 values of y_hat are NaN or infinite"):
        evaluate(np.ones(2), None, np.array([0.5, np.nan]), None, None)
    with pytest.raises(ValueError, match=r"one length, 1 or more; they have \[0\]"):
        evaluate(np.ones(0), None, np.ones(0), None, None)
    with pytest.raises(ValueError, match=r"they have \[2, 3\]"):
        evaluate(np.ones(2), None, np.ones(3), None, None)


def example(user: str, item: str, y: float, at: int) -> Example:
    return Example("", f"watch {item}", y, None, at, user, item)


def test_baselines_match_a_worked_example() -> None:
    train = [example("ann", "heat", 1.0, 1), example("ann", "jaws", 0.0, 2), example("bob", "heat", 1.0, 3)]
    # The examples are not in the order of time.
    test = [example("bob", "jaws", 1.0, 5), example("bob", "heat", 0.0, 4)]
    found = baselines(train, test)
    mean = 2 / 3
    assert found["global mean"].tolist() == pytest.approx([mean, mean])
    assert found["item mean"].tolist() == pytest.approx(
        [ITEM_WEIGHT * mean / (1 + ITEM_WEIGHT), (2 + ITEM_WEIGHT * mean) / (2 + ITEM_WEIGHT)]
    )
    bob_before = (1 + USER_WEIGHT * mean) / (1 + USER_WEIGHT)
    # The outcome at 4 is known by 5.
    bob_after = (1 + USER_WEIGHT * 2 / 4) / (2 + USER_WEIGHT)
    assert found["user mean"].tolist() == pytest.approx([bob_before, bob_before])
    assert found["user mean so far"].tolist() == pytest.approx([bob_after, bob_before])
    assert found["item mean so far"][1] == pytest.approx(found["item mean"][1])


def test_a_baseline_never_uses_the_outcome_it_predicts() -> None:
    test = [example("ann", "heat", float(i % 2), i) for i in range(20)]
    first, changed = baselines([], test), baselines([], [*test[:-1], replace(test[-1], y=1 - test[-1].y)])
    for name, predicted in first.items():
        assert np.isfinite(predicted).all()
        assert predicted[-1] == changed[name][-1]


def test_no_figure_ranks_within_a_user() -> None:
    """The AUC within a user makes a predictor that learns look worse than chance.

    Here outcomes depend only on the user's taste, so within a user no order is better than chance and the AUC should be
    0.5. A running mean is lower before a positive than after it. Positives therefore have the lower predictions of
    their user, more so with fewer rows, although the predictor is good over all rows.
    """
    random = np.random.default_rng(0)
    taste = np.clip(random.normal(0.6, 0.25, 300), 0.05, 0.95)
    # Rows are in the order of time.
    users = random.permutation(np.repeat(np.arange(300), 10))
    y = (random.random(3000) < taste[users]).astype(np.float64)
    test = [
        example(f"u{user}", "i", outcome, at) for at, (user, outcome) in enumerate(zip(users, y, strict=True))
    ]
    y_hat = baselines([], test)["user mean so far"]
    of_users = [metrics.auc(y_hat[users == user], y[users == user] >= 0.5) for user in range(300)]
    assert metrics.auc(y_hat, y >= 0.5) > 0.6
    # The bias: 0.5 would be right.
    assert np.nanmean(of_users) < 0.4

    found = evaluate(y, None, y_hat, None, users.astype(np.str_), samples=10)
    assert set(found.metrics) == {
        "auc",
        "mse",
        "log_loss",
        "calibration_error",
        "accuracy",
        "precision",
        "recall",
        "f1",
        "positive_rate",
    }
