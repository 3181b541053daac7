"""The gate for any predictions: it promotes only a better model, and the order of rows does not matter."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainer.gate import GateSettings, Predictions, judge

N = 40
ROWS = arrays(np.float64, N, elements=st.floats(-2, 2, width=32))
ANY_ROWS = arrays(np.float64, N, elements=st.floats(width=32))
LABELS = arrays(np.float64, N, elements=st.sampled_from([0.0, 0.25, 1.0]))
GATE = GateSettings(samples=50, min_examples=1, min_users=2)


@given(ROWS, ROWS, LABELS, st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_only_the_version_with_the_lower_loss_can_win(
    first: np.ndarray, second: np.ndarray, y: np.ndarray, lam: float
) -> None:
    one, two = Predictions(first, second), Predictions(second, first)
    forth, back = judge(one, two, y, y, lam, settings=GATE), judge(two, one, y, y, lam, settings=GATE)
    assert not (forth.promote and back.promote)
    for verdict in (forth, back):
        if verdict.promote:
            assert verdict.metrics["challenger_loss"] < verdict.metrics["champion_loss"]


@given(ROWS, ANY_ROWS, LABELS)
@settings(max_examples=50, deadline=None)
def test_predictions_never_raise_and_non_finite_ones_are_rejected(
    champion: np.ndarray, challenger: np.ndarray, y: np.ndarray
) -> None:
    verdict = judge(
        Predictions(champion, champion), Predictions(challenger, challenger), y, y, 0.5, settings=GATE
    )
    assert verdict.reason.startswith("promoted: " if verdict.promote else "rejected: ")
    if not np.isfinite(challenger).all():
        assert not verdict.promote
        assert "NaN or infinite" in verdict.reason


@given(ROWS, ROWS, LABELS, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_user_sampling_ignores_the_order_of_rows(
    champion: np.ndarray, challenger: np.ndarray, y: np.ndarray, random: st.DataObject
) -> None:
    users = np.array([f"user {i % 7}" for i in range(N)])
    order = np.array(random.sample(range(N), N))  # type: ignore[attr-defined]
    given_order, shuffled = (
        judge(
            Predictions(champion[rows], champion[rows]),
            Predictions(challenger[rows], challenger[rows]),
            y[rows],
            y[rows],
            0.5,
            user_ids=users[rows],
            settings=GATE,
        )
        for rows in (np.arange(N), order)
    )
    assert given_order.promote == shuffled.promote or np.isclose(
        given_order.metrics["champion_loss"], given_order.metrics["challenger_loss"]
    )
    assert np.isclose(given_order.metrics["loss_gain_low"], shuffled.metrics["loss_gain_low"], atol=1e-9)
