"""The ridge regression from text vectors to item figures, compared with the normal equations."""

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.mapped_ridge import Ridge

PENALTY = 3.0

Floats = NDArray[np.float64]


def random_rows(rows: int, width: int) -> tuple[Floats, Floats, Floats]:
    """Return random vectors with directions of different variance, weights, and two figures per row."""
    random = np.random.default_rng(rows)
    x = random.normal(size=(rows, width)) * np.linspace(0.01, 1, width) + 2.0
    return x, random.random(rows) + 0.1, random.normal(size=(rows, 2))


def by_normal_equations(x: Floats, w: Floats, t: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the weights and the means of x and t."""
    share = w / w.sum()
    x_mean, t_mean = share @ x, share @ t
    scaled = np.sqrt(w / w.mean())[:, None] * (x - x_mean)
    scale = (scaled**2).sum() / len(x)
    gram = scaled.T @ scaled + PENALTY * scale * np.eye(x.shape[1])
    return np.linalg.solve(gram, scaled.T @ (np.sqrt(w / w.mean())[:, None] * (t - t_mean))), x_mean, t_mean


@pytest.mark.parametrize(("rows", "width"), [(60, 7), (7, 60), (30, 30)])
def test_the_weights_solve_the_normal_equations(rows: int, width: int) -> None:
    x, w, t = random_rows(rows, width)
    found = Ridge(x, w, penalties=[PENALTY]).fit(t)
    weights, x_mean, t_mean = by_normal_equations(x, w, t)
    assert found.weights == pytest.approx(weights, abs=1e-8)
    assert found.predict(x) == pytest.approx((x - x_mean) @ weights + t_mean, abs=1e-8)


def test_left_out_predictions_ignore_their_own_row() -> None:
    x, w, t = random_rows(40, 6)
    other = t.copy()
    other[11] += 100.0
    one, two = (Ridge(x, w, penalties=[PENALTY]).fit(figures).left_out for figures in (t, other))
    assert two[11] == pytest.approx(one[11], abs=1e-9)
    assert abs(two - one).max() > 0.1


def test_identical_texts_predict_the_mean() -> None:
    x, w, t = np.ones((5, 3)), np.ones(5), random_rows(5, 3)[2]
    assert Ridge(x, w).fit(t).predict(x) == pytest.approx(np.tile(t.mean(0), (5, 1)))
