"""Influence as the weighted mean of both estimates."""

import numpy as np
import pytest

from model.influence import influence, influence_of


def test_influence_is_the_weighted_mean_of_both_estimates() -> None:
    y_hat = np.array([0.2, 0.8], np.float32)
    z_hat = np.array([0.8, 0.2], np.float32)
    assert influence(y_hat, z_hat, 0.5) == pytest.approx([(0.2 + 0.4) / 1.5, (0.8 + 0.1) / 1.5])
    assert influence(y_hat, z_hat, 0.0) == pytest.approx([0.2, 0.8])


def test_influence_stays_within_zero_and_one() -> None:
    wild = np.array([-3.0, 5.0], np.float32)
    assert influence(wild, wild, 1.0).tolist() == [0.0, 1.0]


def test_a_single_influence_equals_the_array_version() -> None:
    several = influence(np.array([0.3, 0.1], np.float32), np.array([0.7, 0.2], np.float32), 0.5)
    assert influence_of(0.3, 0.7, 0.5) == several[0]
