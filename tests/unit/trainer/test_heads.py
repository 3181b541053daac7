"""The ridge regression of the heads, and AUC, compared with scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from model.metrics import auc
from trainer.heads import choose_penalty, fit_heads

random = np.random.default_rng(0)


def test_heads_equal_the_reference_implementation() -> None:
    features = random.normal(size=(200, 8)) * 3 + 1
    labels = random.uniform(size=(200, 2))
    labels[::3, 1] = np.nan
    heads = fit_heads(features, labels, penalty=7.0)
    for head in range(2):
        known = np.isfinite(labels[:, head])
        scale = features[known].var(axis=0).mean()
        reference = Ridge(alpha=7.0 * scale).fit(features[known], labels[known, head])
        assert heads.weight[head] == pytest.approx(reference.coef_)
        assert heads.bias[head] == pytest.approx(reference.intercept_)
    assert heads.predict(features).shape == (200, 2)


def test_a_head_without_labels_is_zero() -> None:
    labels = np.column_stack([random.uniform(size=50), np.full(50, np.nan)])
    heads = fit_heads(random.normal(size=(50, 4)), labels, penalty=1.0)
    assert heads.weight[1].tolist() == [0.0] * 4
    assert heads.bias[1] == 0.0
    assert heads.weight[0].any()


def test_constant_features_are_accepted() -> None:
    heads = fit_heads(np.ones((10, 3)), np.full((10, 2), 0.25), penalty=1.0)
    assert heads.predict(np.ones((1, 3)))[0] == pytest.approx([0.25, 0.25])


def test_the_penalty_is_chosen_by_the_newest_rows() -> None:
    features = random.normal(size=(300, 40))
    signal = features[:, :1].repeat(2, axis=1)
    noise = random.normal(size=(300, 2))
    assert choose_penalty(features, signal, penalties=(0.1, 1e6))[0] == 0.1
    assert choose_penalty(features, noise, penalties=(0.1, 1e6))[0] == 1e6


def test_a_penalty_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match="penalty=0"):
        fit_heads(np.ones((3, 1)), np.ones((3, 2)), 0)


def test_auc_equals_the_reference_implementation_with_ties() -> None:
    scores = random.integers(0, 20, size=500) / 20
    positive = random.uniform(size=500) < scores
    assert auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_auc_needs_both_classes() -> None:
    assert np.isnan(auc(np.ones(3), np.array([True, True, True])))
    assert auc(np.array([0.1, 0.9]), np.array([False, True])) == 1.0
