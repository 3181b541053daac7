"""Metrics, compared with worked examples and scikit-learn."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as theirs
from sklearn.calibration import calibration_curve as their_calibration_curve

from model import metrics
from model.metrics import EPSILON

Case = tuple[NDArray[np.float32], NDArray[np.float32]]


@pytest.fixture
def case() -> Case:
    """Five hundred rows; scores with ties, some outside [0, 1]."""
    random = np.random.default_rng(0)
    y = (random.random(500) < 0.6).astype(np.float32)
    y_hat = (np.round(0.5 + 0.3 * (y - 0.5) + 0.3 * random.standard_normal(500), 2)).astype(np.float32)
    return y_hat, y


def test_the_metrics_match_scikit_learn(case: Case) -> None:
    y_hat, y = case
    positive = y >= 0.5
    called = y_hat >= 0.5
    counted = metrics.confusion(y_hat, positive)
    clipped = np.clip(y_hat.astype(np.float64), EPSILON, 1 - EPSILON)
    assert metrics.auc(y_hat, positive) == pytest.approx(theirs.roc_auc_score(y, y_hat))
    assert metrics.mse(y_hat, y) == pytest.approx(theirs.mean_squared_error(y, y_hat))
    assert metrics.log_loss(y_hat, y) == pytest.approx(theirs.log_loss(y, clipped))
    assert counted.accuracy == pytest.approx(theirs.accuracy_score(positive, called))
    assert counted.precision == pytest.approx(theirs.precision_score(positive, called))
    assert counted.recall == pytest.approx(theirs.recall_score(positive, called))
    assert counted.f1 == pytest.approx(theirs.f1_score(positive, called))
    assert metrics.positive_rate(positive) == pytest.approx(y.mean())


def test_the_curves_match_scikit_learn(case: Case) -> None:
    y_hat, y = case
    positive = y >= 0.5
    false_rates, true_rates, _ = theirs.roc_curve(positive, y_hat, drop_intermediate=False)
    roc = metrics.roc_curve(y_hat, positive)
    assert np.allclose(roc.x, false_rates)
    assert np.allclose(roc.y, true_rates)
    precisions, recalls, _ = theirs.precision_recall_curve(positive, y_hat)
    found = metrics.precision_recall_curve(y_hat, positive)
    assert np.allclose(found.x, recalls[-2::-1])  # theirs ascend by threshold and end at (0, 1)
    assert np.allclose(found.y, precisions[-2::-1])


def test_the_calibration_curve_matches_scikit_learn() -> None:
    random = np.random.default_rng(1)
    y_hat = random.permutation(np.linspace(0.01, 0.99, 400)).astype(np.float64)
    y = (random.random(400) < y_hat).astype(np.float64)
    observed, predicted = their_calibration_curve(y, y_hat, n_bins=10, strategy="quantile")
    curve = metrics.calibration_curve(y_hat, y)
    assert np.allclose(curve.predicted, predicted)
    assert np.allclose(curve.observed, observed)
    assert curve.counts.tolist() == [40.0] * 10


def test_the_calibration_error_matches_a_worked_example() -> None:
    y_hat = np.array([0.2, 0.2, 0.2, 0.2, 0.9, 0.9])  # two bins: four rows and two
    y = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    assert metrics.calibration_error(y_hat, y, bins=2) == pytest.approx((4 * 0.3 + 2 * 0.1) / 6)


def test_equal_predictions_share_a_bin() -> None:
    y_hat = np.full(100, 0.7)
    # Split in this order, the halves would look badly calibrated.
    y = np.concatenate((np.ones(70), np.zeros(30)))
    assert metrics.calibration_error(y_hat, y) == pytest.approx(0.0)


def test_log_loss_is_bounded_outside_the_unit_interval() -> None:
    wrong = metrics.log_loss(np.array([7.0, -3.0]), np.array([0.0, 1.0]))
    assert wrong == pytest.approx(-math.log(EPSILON))
    assert metrics.mse(np.array([1.5]), np.array([1.0])) == pytest.approx(0.25)  # the error is not clipped


def test_undefined_metrics_are_nan() -> None:
    none, ones = np.zeros(0), np.ones(3, dtype=bool)
    scores = np.array([0.1, 0.2, 0.3])
    undefined = [
        metrics.auc(scores, ones),
        metrics.mse(none, none),
        metrics.log_loss(none, none),
        metrics.calibration_error(none, none),
        metrics.positive_rate(none > 0),
        metrics.confusion(scores, ones).precision,  # nothing was called positive
    ]
    assert np.isnan(undefined).all()
    assert metrics.confusion(scores, ones).recall == 0.0
    assert np.isnan(metrics.roc_curve(scores, ones).x).all()
