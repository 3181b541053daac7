"""Calibration of a late network lowers log-loss, never raises calibration error, and becomes part of the network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.features.names import FEATURES
from model.late import LateNetwork, LateSettings
from model.metrics import auc, calibration_error, log_loss
from trainer.feature_rows import FeatureRows
from trainer.late import score_late
from trainer.late_batches import LateRows
from trainer.late_calibration import NO_CHANGE, calibrate, fit_platt

ROWS = 2_000


def labels(logits: np.ndarray, seed: int = 1) -> np.ndarray:
    """Draw outcomes with the given log-odds."""
    random = np.random.default_rng(seed)
    return np.where(random.random(len(logits)) < 1 / (1 + np.exp(-logits)), 1.0, 0.0)


def test_scale_and_shift_of_the_log_odds_are_recovered() -> None:
    true = np.random.default_rng(0).normal(size=20_000)
    found = fit_platt(3 * true + 1, labels(true))
    assert found.scale == pytest.approx(1 / 3, abs=0.03)
    assert found.shift == pytest.approx(-1 / 3, abs=0.06)


def test_calibrated_log_odds_and_few_rows_change_little() -> None:
    true = np.random.default_rng(0).normal(size=5_000)
    found = fit_platt(true, labels(true))
    assert found.scale == pytest.approx(1, abs=0.1)
    assert found.shift == pytest.approx(0, abs=0.1)
    assert fit_platt(3 * true[:19], labels(true[:19])) == NO_CHANGE


def test_rows_of_few_users_change_less() -> None:
    true = np.random.default_rng(0).normal(size=1_000)
    many, few = (fit_platt(3 * true + 1, labels(true), rows_per_user) for rows_per_user in (1.0, 100.0))
    assert many.scale < few.scale < 1
    assert many.shift < few.shift < 0


@settings(deadline=None, max_examples=60)
@given(
    scale=st.floats(-3, 8), shift=st.floats(-4, 4), rows=st.integers(20, 400), seed=st.integers(0, 2**32 - 1)
)
def test_calibration_never_worsens_its_own_rows(scale: float, shift: float, rows: int, seed: int) -> None:
    true = np.random.default_rng(seed).normal(size=rows)
    logits, y = scale * true + shift, labels(true, seed)
    found = fit_platt(logits, y)
    before, after = NO_CHANGE.of(logits), found.of(logits)
    assert log_loss(after, y) <= log_loss(before, y)
    assert calibration_error(after, y) <= calibration_error(before, y)
    # The order is kept.
    assert found.scale > 0


def test_calibration_becomes_part_of_the_network() -> None:
    random = np.random.default_rng(2)
    numbers = random.normal(size=(ROWS, len(FEATURES))).astype(np.float32)
    rows = FeatureRows(
        numbers=numbers,
        y=np.zeros(ROWS, np.float32),
        z=np.zeros(ROWS, np.float32),
        users=np.full(ROWS, "u"),
        items=np.full(ROWS, "i"),
        text=random.integers(0, 3, ROWS).astype(np.int32),
        item=np.zeros(ROWS, np.int32),
        past_text=np.full((ROWS, 1), -1, np.int32),
        past_item=np.zeros((ROWS, 1), np.int32),
        past=np.zeros((ROWS, 1, 4), np.float32),
        item_vectors=np.zeros((1, 32), np.float32),
        of=np.arange(ROWS),
        events=ROWS,
    )
    torch.manual_seed(0)
    network = LateNetwork(LateSettings(text_width=4, width=8, heads=2, tower=16)).eval()
    for layer in (network.output, network.fusion_output):
        torch.nn.init.normal_(layer.weight)
    late_rows = LateRows.of(rows, random.normal(size=(3, 4)).astype(np.float32))
    every = np.arange(ROWS)
    before = score_late(network, late_rows, every, late_rows.texts)
    logits = np.log(before) - np.log1p(-before.astype(np.float64))
    rows.y[:] = labels(0.4 * logits[:, 0])
    rows.z[:] = 1 / (1 + np.exp(-0.5 * logits[:, 1] - 0.3))
    scales = calibrate(network, late_rows, every, late_rows.texts)
    after = score_late(network, late_rows, every, late_rows.texts)
    for head, platt in enumerate(scales):
        assert platt != NO_CHANGE
        np.testing.assert_allclose(after[:, head], platt.of(logits[:, head]), atol=1e-5)
    assert log_loss(after[:, 0], rows.y) < log_loss(before[:, 0], rows.y)
    assert auc(after[:, 0], rows.y > 0) == pytest.approx(auc(before[:, 0], rows.y > 0), abs=1e-4)
