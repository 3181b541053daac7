"""The gate: the decision whether a challenger replaces the champion. No I/O.

Both are evaluated on the same rows, the newest that neither was trained on, so the difficulty of a row cancels out. The
challenger's lower loss must be significant in a t-test over users (trainer.evaluation.gain), its log-loss of y must not
be higher, and it must not be too slow.

Every challenger of a champion is another chance of a false promotion. Alpha spending bounds the total: request k
against the same champion is tested at level alpha / (k (k + 1)), and these levels sum to alpha. This is a Bonferroni
bound, so it holds for dependent requests.

Source: D. Foster and R. Stine, 2008, "Alpha-Investing", Journal of the Royal Statistical Society B 70; J. Tian and
A. Ramdas, 2021, "Online Control of the Familywise Error Rate", Statistical Methods in Medical Research 30.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.metrics import THRESHOLD, auc, log_loss
from trainer.evaluation.gain import Gain, mean_gain
from trainer.evaluation.resampling import Units, WeightedAuc, draws, interval, units

Floats = NDArray[np.floating]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GateSettings:
    """The conditions for a promotion.

    confidence: 1 minus the probability that a champion is replaced by a challenger that is no better, over all requests
    against it. min_improvement: the minimum decrease of the loss. min_examples, min_users: with fewer, the challenger
    is rejected. samples, seed: of the bootstrap for the interval of the AUC gain.
    max_ms_per_text: the maximum time per text; None for no limit. max_slowdown: the maximum ratio of that time to the
    champion's; None for no limit.
    Raises ValueError for a value out of bounds.
    """

    confidence: float = 0.95
    min_improvement: float = 0.0
    min_examples: int = 500
    min_users: int = 50
    samples: int = 2000
    seed: int = 0
    max_ms_per_text: float | None = None
    max_slowdown: float | None = 1.25

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence={self.confidence} must be at least 0.5 and below 1")
        if self.min_improvement < 0:
            raise ValueError(f"min_improvement={self.min_improvement} must be 0 or more")
        for name, least in (("min_examples", 1), ("min_users", 2), ("samples", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be {least} or more")
        for name in ("max_ms_per_text", "max_slowdown"):
            if (limit := getattr(self, name)) is not None and limit <= 0:
                raise ValueError(f"{name}={limit} must be above 0; leave it out for no limit")


@dataclass(frozen=True, slots=True)
class Predictions:
    """A version's predictions for the gate's examples. y_hat, z_hat: (N,).

    ms_per_text: NaN if not measured. cold_ms_per_text: of a late version with an empty vector cache; it is reported
    only and does not affect the decision.
    """

    y_hat: Floats
    z_hat: Floats
    ms_per_text: float = float("nan")
    cold_ms_per_text: float = float("nan")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's decision. reason: a sentence with figures. metrics: the compared figures, if finite."""

    promote: bool
    reason: str
    metrics: Mapping[str, float]


def judge(
    champion: Predictions,
    challenger: Predictions,
    y: Floats,
    z: Floats,
    lam: float,
    *,
    user_ids: NDArray[np.str_] | None = None,
    earlier: int = 0,
    settings: GateSettings | None = None,
) -> Verdict:
    """Compare two versions on the same N rows, the newest that neither was trained on.

    y, z: (N,); a row whose z is unknown (NaN) counts in the loss's first term only.
    lam: the weight of the second term, the same for both. user_ids: (N,), the units of the test; without them each row
    is its own unit. earlier: the number of challengers already compared with this champion and rejected.
    The verdict's metrics contain p_value if and only if the two were compared.
    Raises ValueError if the arrays differ in length, or earlier is below 0.
    """
    settings = settings or GateSettings()
    lengths = {len(a) for p in (champion, challenger) for a in (p.y_hat, p.z_hat)} | {len(y), len(z)}
    if user_ids is not None:
        lengths.add(len(user_ids))
    if len(lengths) > 1:
        raise ValueError(f"labels and predictions must have one length, they have {sorted(lengths)}")
    allowed = allowed_p_value(settings.confidence, earlier)
    drawn = units(user_ids, len(y))
    counts = {"examples": float(len(y)), **_times(champion, challenger)}
    if user_ids is not None:
        counts["users"] = float(drawn.size if drawn.are_users else min(len(y), 1))
    problem = _not_comparable(champion, challenger, counts, settings)
    if problem:
        return Verdict(promote=False, reason=f"rejected: {problem}", metrics=counts)
    compared = _Comparison.of(champion, challenger, y, z, lam, drawn, settings)
    too_slow = _too_slow(champion.ms_per_text, challenger.ms_per_text, settings)
    better = compared.gain.p_value <= allowed
    not_lower = "" if compared.is_lower or not better else "no lower loss on the rows themselves; "
    worse = "a higher log-loss of y; " if compared.log_losses[1] > compared.log_losses[0] else ""
    promote = better and not (not_lower or worse or too_slow)
    figures = compared.sentence(settings, allowed, earlier) + _times_text(champion, challenger)
    reason = f"{'promoted' if promote else 'rejected'}: {too_slow}{not_lower}{worse}{figures}"
    metrics = {**counts, **compared.metrics(), "p_allowed": allowed, "earlier_challengers": float(earlier)}
    return Verdict(promote, reason, {k: v for k, v in metrics.items() if np.isfinite(v)})


def allowed_p_value(confidence: float, earlier: int) -> float:
    """Return the maximum p-value for a promotion after `earlier` challengers of the same champion.

    It is alpha / (k (k + 1)) with alpha = 1 - confidence and k = earlier + 1. The sum over all k is alpha.
    Raises ValueError if earlier is below 0.
    """
    if earlier < 0:
        raise ValueError(f"earlier={earlier} must be 0 or more")
    return (1 - confidence) / ((earlier + 1) * (earlier + 2))


def losses(predictions: Predictions, y: Floats, z: Floats, lam: float) -> FloatArray:
    """Return each row's L = (y_hat - y)^2 + lam (z_hat - z)^2, float64 (N,).

    The second term is omitted if z is NaN.
    """
    first = (predictions.y_hat.astype(np.float64) - y) ** 2
    second = (predictions.z_hat.astype(np.float64) - z) ** 2
    total: FloatArray = first + lam * np.where(np.isnan(z), 0.0, second)
    return total


@dataclass(frozen=True, slots=True)
class _Comparison:
    """losses, log_losses (of y), aucs: of champion and challenger. gain: the decrease of the loss."""

    losses: tuple[float, float]
    log_losses: tuple[float, float]
    aucs: tuple[float, float]
    gain: Gain
    auc_gain: tuple[float, float]  # the 95 % bootstrap interval
    drawn: Units

    @classmethod
    def of(
        cls,
        champion: Predictions,
        challenger: Predictions,
        y: Floats,
        z: Floats,
        lam: float,
        drawn: Units,
        settings: GateSettings,
    ) -> "_Comparison":
        old, new = losses(champion, y, z, lam), losses(challenger, y, z, lam)
        positive = y >= THRESHOLD
        old_auc, new_auc = WeightedAuc(champion.y_hat, positive), WeightedAuc(challenger.y_hat, positive)
        auc_gains = []
        for counts in draws(drawn, settings.samples, settings.seed):
            weights = counts[:, drawn.of_row]  # (C, N)
            auc_gains.append(new_auc(weights) - old_auc(weights))
        return cls(
            (float(old.mean()), float(new.mean())),
            (log_loss(champion.y_hat, y), log_loss(challenger.y_hat, y)),
            (auc(champion.y_hat, positive), auc(challenger.y_hat, positive)),
            mean_gain(old - new, drawn, settings.min_improvement),
            interval(np.concatenate(auc_gains), 0.95),
            drawn,
        )

    @property
    def is_lower(self) -> bool:
        """Whether the challenger's loss on the rows is lower after rounding to floats."""
        return self.losses[1] < self.losses[0]

    def metrics(self) -> dict[str, float]:
        return {
            "champion_loss": self.losses[0],
            "challenger_loss": self.losses[1],
            "loss_gain_low": self.gain.low,
            "loss_gain_high": self.gain.high,
            "p_value": self.gain.p_value,
            "champion_log_loss": self.log_losses[0],
            "challenger_log_loss": self.log_losses[1],
            "champion_auc": self.aucs[0],
            "challenger_auc": self.aucs[1],
            "auc_gain_low": self.auc_gain[0],
            "auc_gain_high": self.auc_gain[1],
        }

    def sentence(self, settings: GateSettings, allowed: float, earlier: int) -> str:
        drawn = "users" if self.drawn.are_users else "rows"
        by = f" by more than {settings.min_improvement:g}" if settings.min_improvement else ""
        text = (
            f"loss {self.losses[1]:.4f} against {self.losses[0]:.4f}, better{by} with p {self.gain.p_value:.2g} "
            f"over {self.drawn.size:,} {drawn} (at most {allowed:.2g} for challenger {earlier + 1:,} of this champion)"
            f"; log-loss of y {self.log_losses[1]:.4f} against {self.log_losses[0]:.4f}"
        )
        if np.isfinite(self.aucs).all():
            text += f"; AUC {_auc_text(self.aucs[1])} against {_auc_text(self.aucs[0])}"
        return text


def _not_comparable(
    champion: Predictions, challenger: Predictions, counts: Mapping[str, float], settings: GateSettings
) -> str | None:
    """Return why the two cannot be compared, or None. counts: of examples, and of users if known."""
    rows, users = int(counts["examples"]), counts.get("users")
    if rows < settings.min_examples:
        return f"{rows:,} examples are too few for a comparison (at least {settings.min_examples:,})"
    if users is not None and users < settings.min_users:
        whose = "1 user is" if users == 1 else f"{int(users):,} users are"
        return (
            f"{whose} too few for a comparison (at least {settings.min_users:,}), with {rows:,} examples: hand over "
            "more examples at once, or increase the gate's share"
        )
    for name, predictions in (("challenger", challenger), ("champion", champion)):
        finite = np.isfinite(predictions.y_hat) & np.isfinite(predictions.z_hat)
        if not finite.all():
            text = f"{int((~finite).sum()):,} of the {name}'s {rows:,} predictions are NaN or infinite"
            by_hand = ", so there is nothing to beat: promote by hand if you trust the challenger"
            return text + (by_hand if predictions is champion else "")
    return None


def _too_slow(champion_ms: float, challenger_ms: float, settings: GateSettings) -> str:
    """Return the reason's clause about a slow challenger, ending in "; ", or "" if it is fast enough."""
    if settings.max_ms_per_text is not None and np.isnan(challenger_ms):
        return f"time not measured, at most {settings.max_ms_per_text:g} ms per text are allowed; "
    if settings.max_ms_per_text is not None and challenger_ms > settings.max_ms_per_text:
        return f"too slow, at most {settings.max_ms_per_text:g} ms per text are allowed; "
    slowdown = challenger_ms / champion_ms
    if settings.max_slowdown is not None and slowdown > settings.max_slowdown:
        return f"too slow, {slowdown:.2f} times the champion's time per text (at most {settings.max_slowdown:g}); "
    return ""


def _times(champion: Predictions, challenger: Predictions) -> dict[str, float]:
    times = {
        "champion_ms_per_text": champion.ms_per_text,
        "challenger_ms_per_text": challenger.ms_per_text,
        "champion_cold_ms_per_text": champion.cold_ms_per_text,
        "challenger_cold_ms_per_text": challenger.cold_ms_per_text,
    }
    return {name: value for name, value in times.items() if np.isfinite(value)}


def _times_text(champion: Predictions, challenger: Predictions) -> str:
    if not np.isfinite([champion.ms_per_text, challenger.ms_per_text]).all():
        return ""
    text = f"; {challenger.ms_per_text:.2f} ms per text against {champion.ms_per_text:.2f}"
    if np.isfinite([champion.cold_ms_per_text, challenger.cold_ms_per_text]).all():
        cold = f"{challenger.cold_ms_per_text:.2f} against {champion.cold_ms_per_text:.2f}"
        text += f" ({cold} with an empty vector cache)"
    return text


def _auc_text(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")
