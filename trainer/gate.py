"""The gate: whether a challenger may take the champion's place. Pure.

Both are judged on the same rows, the newest that neither was trained on, so what makes a row hard for both cancels
out. The challenger's gain must be more than chance by a t-test over users (trainer.evaluation.gain), its log-loss on y
must not be worse, and it must not be too slow.

A champion is challenged again and again, and each request has its chance of a false promotion. So the error is
spent: request k against the same champion may err with probability alpha / (k (k + 1)), and over all requests these
sum to alpha (alpha spending, a Bonferroni bound: it holds however the requests depend on each other).

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
    """What a challenger must show.

    confidence: 1 minus the chance that a champion falls to challengers that are no better, over all requests against
    it. min_improvement: by how much loss a challenger must be better. min_examples, min_users: with fewer nothing is
    promoted. samples, seed: of the bootstrap behind the interval of the AUC's gain.
    max_ms_per_text: it may take so long at most; None: no limit. max_slowdown: and at most so many times as long
    as the champion; None: no limit.
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
    """What a version says of the slice. y_hat, z_hat: (N,).

    ms_per_text: NaN if not measured. cold_ms_per_text: where a late version keeps no vectors yet; it is told, and
    decides nothing.
    """

    y_hat: Floats
    z_hat: Floats
    ms_per_text: float = float("nan")
    cold_ms_per_text: float = float("nan")


@dataclass(frozen=True, slots=True)
class Verdict:
    """promote: or not. reason: one sentence with figures. metrics: what was compared, finite figures only."""

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

    y, z: (N,); z is NaN where it is not known: such a row counts in the loss's first term only.
    lam: the weight of the second term, the same for both. user_ids: (N,), whose rows count together; without them each
    row counts as a user. earlier: how many challengers were compared with this champion before, and rejected.
    The verdict's metrics have a p_value exactly if the two were compared.
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
    swallowed = "" if compared.is_lower or not better else "no lower loss on the rows themselves; "
    worse = "a higher log-loss of y; " if compared.log_losses[1] > compared.log_losses[0] else ""
    promote = better and not (swallowed or worse or too_slow)
    figures = compared.sentence(settings, allowed, earlier) + _told_times(champion, challenger)
    reason = f"{'promoted' if promote else 'rejected'}: {too_slow}{swallowed}{worse}{figures}"
    metrics = {**counts, **compared.metrics(), "p_allowed": allowed, "earlier_challengers": float(earlier)}
    return Verdict(promote, reason, {k: v for k, v in metrics.items() if np.isfinite(v)})


def allowed_p_value(confidence: float, earlier: int) -> float:
    """Return the p-value that suffices after so many earlier challengers of the same champion.

    It is alpha / (k (k + 1)) with alpha = 1 - confidence and k = earlier + 1; over all k these sum to alpha.
    Raises ValueError if earlier is below 0.
    """
    if earlier < 0:
        raise ValueError(f"earlier={earlier} must be 0 or more")
    return (1 - confidence) / ((earlier + 1) * (earlier + 2))


def losses(predictions: Predictions, y: Floats, z: Floats, lam: float) -> FloatArray:
    """Return each row's L = (y_hat - y)^2 + lam (z_hat - z)^2, float64 (N,), without the second term where z is NaN."""
    first = (predictions.y_hat.astype(np.float64) - y) ** 2
    second = (predictions.z_hat.astype(np.float64) - z) ** 2
    total: FloatArray = first + lam * np.where(np.isnan(z), 0.0, second)
    return total


@dataclass(frozen=True, slots=True)
class _Comparison:
    """losses, log_losses (of y), aucs: of champion and challenger. gain: of the loss."""

    losses: tuple[float, float]
    log_losses: tuple[float, float]
    aucs: tuple[float, float]
    gain: Gain
    auc_gain: tuple[float, float]  # 95 % of the samples' gains lie between
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
        """Whether the loss on the rows themselves is lower: a gain that rounding swallows is none."""
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
        told = (
            f"loss {self.losses[1]:.4f} against {self.losses[0]:.4f}, better{by} with p {self.gain.p_value:.2g} "
            f"over {self.drawn.size:,} {drawn} (at most {allowed:.2g} for challenger {earlier + 1:,} of this champion)"
            f"; log-loss of y {self.log_losses[1]:.4f} against {self.log_losses[0]:.4f}"
        )
        if np.isfinite(self.aucs).all():
            told += f"; AUC {_auc_text(self.aucs[1])} against {_auc_text(self.aucs[0])}"
        return told


def _not_comparable(
    champion: Predictions, challenger: Predictions, counts: Mapping[str, float], settings: GateSettings
) -> str | None:
    """Say why there is nothing to compare, if so. counts: examples, and users where they are known."""
    rows, users = int(counts["examples"]), counts.get("users")
    if rows < settings.min_examples:
        return f"{rows:,} examples are too few to judge by (at least {settings.min_examples:,})"
    if users is not None and users < settings.min_users:
        whose = "1 user is" if users == 1 else f"{int(users):,} users are"
        return (
            f"{whose} too few to judge by (at least {settings.min_users:,}), with {rows:,} examples: hand over more "
            "at once, or judge by a larger share"
        )
    for name, predictions in (("challenger", challenger), ("champion", champion)):
        finite = np.isfinite(predictions.y_hat) & np.isfinite(predictions.z_hat)
        if not finite.all():
            told = f"{int((~finite).sum()):,} of the {name}'s {rows:,} predictions are NaN or infinite"
            by_hand = ", so there is nothing to beat: promote by hand if you trust the challenger"
            return told + (by_hand if predictions is champion else "")
    return None


def _too_slow(champion_ms: float, challenger_ms: float, settings: GateSettings) -> str:
    """Say what is too slow, with what follows it in the sentence; "" if nothing is."""
    if settings.max_ms_per_text is not None and np.isnan(challenger_ms):
        return f"its time was not measured, at most {settings.max_ms_per_text:g} ms a text are allowed; "
    if settings.max_ms_per_text is not None and challenger_ms > settings.max_ms_per_text:
        return f"too slow, at most {settings.max_ms_per_text:g} ms a text are allowed; "
    slowdown = challenger_ms / champion_ms
    if settings.max_slowdown is not None and slowdown > settings.max_slowdown:
        return f"too slow, {slowdown:.2f} times as long a text as the champion (at most {settings.max_slowdown:g}); "
    return ""


def _times(champion: Predictions, challenger: Predictions) -> dict[str, float]:
    times = {
        "champion_ms_per_text": champion.ms_per_text,
        "challenger_ms_per_text": challenger.ms_per_text,
        "champion_cold_ms_per_text": champion.cold_ms_per_text,
        "challenger_cold_ms_per_text": challenger.cold_ms_per_text,
    }
    return {name: value for name, value in times.items() if np.isfinite(value)}


def _told_times(champion: Predictions, challenger: Predictions) -> str:
    if not np.isfinite([champion.ms_per_text, challenger.ms_per_text]).all():
        return ""
    told = f"; {challenger.ms_per_text:.2f} ms a text against {champion.ms_per_text:.2f}"
    if np.isfinite([champion.cold_ms_per_text, challenger.cold_ms_per_text]).all():
        told += f" ({challenger.cold_ms_per_text:.2f} against {champion.cold_ms_per_text:.2f} with no vectors kept)"
    return told


def _auc_text(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")
