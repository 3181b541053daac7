"""The gate: which challengers it promotes and rejects, and its reasons."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from trainer.gate import GateSettings, Predictions, Verdict, allowed_p_value, judge, losses

N = 800
LAM = 0.5
SETTINGS = GateSettings(samples=400)


@pytest.fixture
def y() -> NDArray[np.float32]:
    return (np.random.default_rng(0).random(N) < 0.6).astype(np.float32)


def guess(y: NDArray[np.float32], *, skill: float, seed: int, ms: float = 10.0) -> Predictions:
    """Return noisy predictions around the labels. skill: 0 for none, 1 for the labels themselves."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (2, N))
    return Predictions(0.5 + skill * (y - 0.5) + noise[0], 0.5 + skill * (y - 0.5) + noise[1], ms)


def decide(y: NDArray[np.float32], champion: Predictions, challenger: Predictions, **how: object) -> Verdict:
    settings = replace(SETTINGS, **how)  # type: ignore[arg-type]
    return judge(champion, challenger, y, y, LAM, settings=settings)


def test_a_better_challenger_is_promoted_with_its_figures(y: NDArray[np.float32]) -> None:
    verdict = decide(y, guess(y, skill=0.2, seed=1), guess(y, skill=0.4, seed=2, ms=10.5))
    assert verdict.promote
    found = verdict.metrics
    assert found["challenger_loss"] < found["champion_loss"]
    assert 0 < found["loss_gain_low"] < found["loss_gain_high"]
    assert found["p_value"] < found["p_allowed"] == pytest.approx(0.025)
    assert verdict.reason.startswith(
        f"promoted: loss {found['challenger_loss']:.4f} against {found['champion_loss']:.4f}, better with "
        f"p {found['p_value']:.2g} over 800 rows (at most 0.025 for challenger 1 of this champion); "
        f"log-loss of y {found['challenger_log_loss']:.4f} against {found['champion_log_loss']:.4f}; AUC "
    )
    assert verdict.reason.endswith("; 10.50 ms per text against 10.00")


def test_a_worse_challenger_is_rejected(y: NDArray[np.float32]) -> None:
    verdict = decide(y, guess(y, skill=0.4, seed=1), guess(y, skill=0.2, seed=2))
    assert not verdict.promote
    assert verdict.reason.startswith("rejected: a higher log-loss of y; loss ")
    assert verdict.metrics["p_value"] > 0.999
    assert verdict.metrics["auc_gain_high"] < 0


def test_an_equal_challenger_is_rejected(y: NDArray[np.float32]) -> None:
    same = guess(y, skill=0.3, seed=1)
    verdict = decide(y, same, same)
    assert not verdict.promote
    assert verdict.metrics["p_value"] == 1.0


def test_a_gain_lost_in_rounding_promotes_nothing() -> None:
    y = np.zeros(40)
    y_hat = np.zeros((2, 40))
    y_hat[:, 0] = 1.0
    # The champion is worse by 1e-40 in each row but one, in which both lose 1.
    y_hat[0, 1:] = 1e-20
    champion, challenger = (Predictions(row, row) for row in y_hat)
    verdict = judge(champion, challenger, y, y, LAM, settings=replace(SETTINGS, min_examples=1))
    assert not verdict.promote
    assert verdict.metrics["p_value"] < 0.001
    assert verdict.reason.startswith(
        "rejected: no lower loss on the rows themselves; loss 0.0375 against 0.0375, "
    )


def test_a_challenger_must_exceed_the_minimum_improvement(y: NDArray[np.float32]) -> None:
    champion, challenger = guess(y, skill=0.2, seed=1), guess(y, skill=0.21, seed=1)
    gain = losses(champion, y, y, LAM).mean() - losses(challenger, y, y, LAM).mean()
    assert decide(y, champion, challenger).promote
    verdict = decide(y, champion, challenger, min_improvement=2 * gain)
    assert not verdict.promote
    assert "better by more than 0.0" in verdict.reason


def test_too_few_examples_promote_nothing(y: NDArray[np.float32]) -> None:
    verdict = decide(y, guess(y, skill=0.1, seed=1), guess(y, skill=0.9, seed=2), min_examples=801)
    assert not verdict.promote
    assert verdict.reason == "rejected: 800 examples are too few for a comparison (at least 801)"
    assert verdict.metrics["examples"] == 800


@pytest.mark.parametrize(
    ("limits", "ms", "expected"),
    [
        ({"max_ms_per_text": 12.0}, 12.5, "rejected: too slow, at most 12 ms per text are allowed; loss "),
        (
            {"max_slowdown": 1.2},
            12.5,
            "rejected: too slow, 1.25 times the champion's time per text (at most 1.2); ",
        ),
        ({"max_ms_per_text": 12.0}, float("nan"), "rejected: time not measured, at most 12 ms"),
    ],
)
def test_a_better_challenger_that_is_too_slow_is_rejected(
    y: NDArray[np.float32], limits: dict[str, float], ms: float, expected: str
) -> None:
    verdict = decide(y, guess(y, skill=0.2, seed=1), guess(y, skill=0.4, seed=2, ms=ms), **limits)
    assert not verdict.promote
    assert verdict.reason.startswith(expected)
    assert verdict.metrics["p_value"] < 0.001


def test_a_time_within_budget_or_unmeasured_rejects_nothing(y: NDArray[np.float32]) -> None:
    champion, challenger = guess(y, skill=0.2, seed=1), guess(y, skill=0.4, seed=2, ms=12.0)
    assert decide(y, champion, challenger, max_ms_per_text=12.0, max_slowdown=1.2).promote
    verdict = decide(y, champion, replace(challenger, ms_per_text=float("nan")))
    assert verdict.promote
    assert "ms per text" not in verdict.reason


@pytest.mark.parametrize("head", ["y_hat", "z_hat"])
def test_a_challenger_that_predicts_nan_is_rejected(y: NDArray[np.float32], head: str) -> None:
    broken = guess(y, skill=0.9, seed=2)
    getattr(broken, head)[[3, 5]] = (np.nan, np.inf)
    verdict = decide(y, guess(y, skill=0.1, seed=1), broken)
    assert not verdict.promote
    assert verdict.reason == "rejected: 2 of the challenger's 800 predictions are NaN or infinite"


def test_a_champion_that_predicts_nan_promotes_nothing(y: NDArray[np.float32]) -> None:
    broken = guess(y, skill=0.9, seed=2)
    broken.y_hat[0] = np.nan
    verdict = decide(y, broken, guess(y, skill=0.9, seed=1))
    assert not verdict.promote
    assert "1 of the champion's 800 predictions" in verdict.reason
    assert "promote by hand" in verdict.reason


def test_a_row_without_z_counts_in_the_first_term_only() -> None:
    predictions = Predictions(np.array([0.5, 0.5]), np.array([0.0, 0.0]))
    found = losses(predictions, np.array([1.0, 1.0]), np.array([1.0, np.nan]), lam=2.0)
    assert found.tolist() == [0.25 + 2.0, 0.25]


def test_lambda_weights_the_second_head(y: NDArray[np.float32]) -> None:
    good, better, bad = guess(y, skill=0.5, seed=1), guess(y, skill=0.6, seed=2), guess(y, skill=0.3, seed=3)
    champion, challenger = Predictions(good.y_hat, good.z_hat), Predictions(better.y_hat, bad.z_hat)
    assert judge(champion, challenger, y, y, 0.1, settings=SETTINGS).promote
    assert not judge(champion, challenger, y, y, 10.0, settings=SETTINGS).promote


def test_a_better_z_never_outweighs_a_worse_y(y: NDArray[np.float32]) -> None:
    good, worse, bad = guess(y, skill=0.5, seed=1), guess(y, skill=0.48, seed=1), guess(y, skill=0.1, seed=2)
    champion, challenger = Predictions(good.y_hat, bad.z_hat), Predictions(worse.y_hat, good.z_hat)
    verdict = judge(champion, challenger, y, y, LAM, settings=SETTINGS)
    assert verdict.metrics["challenger_loss"] < verdict.metrics["champion_loss"]
    assert verdict.metrics["p_value"] < 0.001
    assert not verdict.promote
    assert verdict.reason.startswith("rejected: a higher log-loss of y; loss ")
    same_y = replace(challenger, y_hat=good.y_hat)
    assert judge(champion, same_y, y, y, LAM, settings=SETTINGS).promote


def test_the_gain_of_one_user_is_not_enough(y: NDArray[np.float32]) -> None:
    """The gain is significant by rows, but not by users."""
    users = np.array(["many"] * (N // 2) + [f"user {i // 5}" for i in range(N // 2)])
    champion = guess(y, skill=0.3, seed=1)
    challenger = Predictions(champion.y_hat.copy(), champion.z_hat)
    challenger.y_hat[: N // 2] += 0.2 * (y[: N // 2] - 0.5)
    by_rows = judge(champion, challenger, y, y, LAM, settings=SETTINGS)
    by_users = judge(champion, challenger, y, y, LAM, user_ids=users, settings=SETTINGS)
    assert by_rows.promote
    assert not by_users.promote
    assert "over 81 users" in by_users.reason


@pytest.mark.parametrize(("users", "expected"), [(1, "1 user is"), (49, "49 users are")])
def test_too_few_users_promote_nothing(y: NDArray[np.float32], users: int, expected: str) -> None:
    ids = np.array([f"u{i % users}" for i in range(N)])
    verdict = judge(guess(y, skill=0.1, seed=1), guess(y, skill=0.9, seed=2), y, y, LAM, user_ids=ids)
    assert not verdict.promote
    assert verdict.reason.startswith(
        f"rejected: {expected} too few for a comparison (at least 50), with 800 examples: "
    )
    assert verdict.metrics == {
        "examples": 800,
        "users": users,
        "champion_ms_per_text": 10,
        "challenger_ms_per_text": 10,
    }


def test_fifty_users_are_enough(y: NDArray[np.float32]) -> None:
    ids = np.array([f"u{i % 50}" for i in range(N)])
    assert judge(guess(y, skill=0.1, seed=1), guess(y, skill=0.9, seed=2), y, y, LAM, user_ids=ids).promote


def test_each_earlier_challenger_lowers_the_allowed_p_value(y: NDArray[np.float32]) -> None:
    champion, challenger = guess(y, skill=0.3, seed=1), guess(y, skill=0.33, seed=2)
    first = judge(champion, challenger, y, y, LAM, settings=SETTINGS)
    later = judge(champion, challenger, y, y, LAM, earlier=400, settings=SETTINGS)
    assert first.promote
    assert not later.promote
    assert first.metrics["p_value"] == later.metrics["p_value"] > later.metrics["p_allowed"]
    assert "for challenger 401 of this champion" in later.reason


def test_allowed_p_values_sum_to_the_allowed_error() -> None:
    spent = np.cumsum([allowed_p_value(0.95, earlier) for earlier in range(10_000)])
    assert spent[:3] == pytest.approx([0.025, 0.05 * 2 / 3, 0.0375])
    assert 0.0499 < spent[-1] < 0.05
    with pytest.raises(ValueError, match="earlier=-1 must be 0 or more"):
        allowed_p_value(0.95, -1)


def test_the_p_value_matches_the_t_test_of_scipy(y: NDArray[np.float32]) -> None:
    random = np.random.default_rng(4)
    users = random.integers(0, 60, N)
    champion, challenger = guess(y, skill=0.3, seed=1), guess(y, skill=0.31, seed=2)
    found = judge(champion, challenger, y, y, LAM, user_ids=users.astype(np.str_), settings=SETTINGS).metrics
    gains = losses(champion, y, y, LAM) - losses(challenger, y, y, LAM)
    totals = np.bincount(users, gains)
    theirs = ttest_1samp(totals, 0.0, alternative="greater")
    assert 0.001 < theirs.pvalue < 0.999
    assert found["p_value"] == pytest.approx(theirs.pvalue)
    both_sides = ttest_1samp(totals, 0.0).confidence_interval(0.95)
    per_row = len(totals) / N
    assert found["loss_gain_low"] == pytest.approx(both_sides.low * per_row)
    assert found["loss_gain_high"] == pytest.approx(both_sides.high * per_row)


def test_a_single_class_is_judged_without_auc() -> None:
    ones = np.ones(N, np.float32)
    verdict = decide(ones, guess(ones, skill=0.2, seed=1), guess(ones, skill=0.4, seed=2))
    assert verdict.promote
    assert "AUC" not in verdict.reason
    assert "challenger_auc" not in verdict.metrics
    assert all(np.isfinite(list(verdict.metrics.values())))


def test_the_same_seed_gives_the_same_verdict(y: NDArray[np.float32]) -> None:
    champion, challenger = guess(y, skill=0.3, seed=1), guess(y, skill=0.305, seed=2)
    first, again = decide(y, champion, challenger), decide(y, champion, challenger)
    assert first == again
    other = decide(y, champion, challenger, seed=1)
    assert other.metrics["auc_gain_low"] != first.metrics["auc_gain_low"]
    # The verdict does not depend on the seed.
    assert other.metrics["p_value"] == first.metrics["p_value"]


def test_arrays_of_different_lengths_are_refused(y: NDArray[np.float32]) -> None:
    short = Predictions(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match=r"must have one length, they have \[3, 800\]"):
        judge(short, guess(y, skill=0.1, seed=1), y, y, LAM)


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence": 1.0},
        {"confidence": 0.4},
        {"min_improvement": -1.0},
        {"min_users": 1},
        {"samples": 0},
        {"max_slowdown": 0.0},
    ],
    ids=str,
)
def test_invalid_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        GateSettings(**wrong)  # type: ignore[arg-type]
