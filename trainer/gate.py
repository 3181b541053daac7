"""The gate: whether a challenger may take the champion's place. Pure.

It must beat the champion on the newest held-out slice by a paired bootstrap: both are judged on the same
samples, so what makes a sample hard for both cancels out. And it must not be too slow.

Source: DESIGN section 8; the loss, section 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.metrics import THRESHOLD, auc
from trainer.evaluation.resampling import Units, WeightedAuc, draws, interval, units

Floats = NDArray[np.floating]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a challenger must show.

    confidence: in at least this share of the samples it must be better. min_improvement: by more than so
    much loss. min_examples: with fewer nothing is promoted. samples, seed: of the bootstrap.
    max_ms_per_text: it may take so long at most; None: no limit. max_slowdown: and at most so many times as long
    as the champion; None: no limit.
    """

    confidence: float = 0.95
    min_improvement: float = 0.0
    min_examples: int = 500
    samples: int = 2000
    seed: int = 0
    max_ms_per_text: float | None = None
    max_slowdown: float | None = 1.25

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence={self.confidence} must be at least 0.5 and below 1")
        if self.min_improvement < 0:
            raise ValueError(f"min_improvement={self.min_improvement} must be 0 or more")
        for name in ("min_examples", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more")
        for name in ("max_ms_per_text", "max_slowdown"):
            if (limit := getattr(self, name)) is not None and limit <= 0:
                raise ValueError(f"{name}={limit} must be above 0; leave it out for no limit")


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a version says of the slice. y_hat, z_hat: (N,). ms_per_text: NaN if not measured."""

    y_hat: Floats
    z_hat: Floats
    ms_per_text: float = float("nan")


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
    settings: GateSettings | None = None,
) -> Verdict:
    """Compare two versions on the same N rows, the newest that neither was trained on.

    y, z: (N,); z is NaN where it is not known: such a row counts in the loss's first term only.
    lam: the weight of the second term, the same for both. user_ids: (N,), what the bootstrap draws; without
    them it draws rows.
    Raises ValueError if the arrays differ in length.
    """
    settings = settings or GateSettings()
    lengths = {len(a) for p in (champion, challenger) for a in (p.y_hat, p.z_hat)} | {len(y), len(z)}
    if user_ids is not None:
        lengths.add(len(user_ids))
    if len(lengths) > 1:
        raise ValueError(f"labels and predictions must have one length, they have {sorted(lengths)}")
    times = _times(champion, challenger)
    problem = _not_comparable(champion, challenger, len(y), settings)
    if problem:
        return Verdict(promote=False, reason=f"rejected: {problem}", metrics={"examples": len(y), **times})
    compared = _Comparison.of(champion, challenger, y, z, lam, units(user_ids, len(y)), settings)
    metrics = {"examples": float(len(y)), **compared.metrics(), **times}
    too_slow = _too_slow(champion.ms_per_text, challenger.ms_per_text, settings)
    better = compared.better >= settings.confidence
    swallowed = "" if compared.is_lower or not better else "no lower loss on the rows themselves; "
    promote = better and not swallowed and not too_slow
    figures = compared.sentence(settings) + _told_times(champion, challenger)
    reason = f"{'promoted' if promote else 'rejected'}: {too_slow}{swallowed}{figures}"
    return Verdict(promote, reason, {k: v for k, v in metrics.items() if np.isfinite(v)})


def losses(predictions: Predictions, y: Floats, z: Floats, lam: float) -> FloatArray:
    """Return each row's L = (y_hat - y)^2 + lam (z_hat - z)^2, float64 (N,), without the second term where z is NaN."""
    first = (predictions.y_hat.astype(np.float64) - y) ** 2
    second = (predictions.z_hat.astype(np.float64) - z) ** 2
    total: FloatArray = first + lam * np.where(np.isnan(z), 0.0, second)
    return total


@dataclass(frozen=True, slots=True)
class _Comparison:
    """losses, aucs: of champion and challenger. better: the share of samples in which the challenger is."""

    losses: tuple[float, float]
    aucs: tuple[float, float]
    better: float
    loss_gain: tuple[float, float]  # 95 % of the samples' gains lie between
    auc_gain: tuple[float, float]
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
        gain_of_unit = np.bincount(drawn.of_row, old - new, drawn.size)  # (U,)
        rows_of_unit = np.bincount(drawn.of_row, minlength=drawn.size)
        old_auc, new_auc = WeightedAuc(champion.y_hat, positive), WeightedAuc(challenger.y_hat, positive)
        loss_gains, auc_gains = [], []
        for counts in draws(drawn, settings.samples, settings.seed):
            loss_gains.append(counts @ gain_of_unit / (counts @ rows_of_unit))
            weights = counts[:, drawn.of_row]  # (C, N)
            auc_gains.append(new_auc(weights) - old_auc(weights))
        gains = np.concatenate(loss_gains)
        return cls(
            (float(old.mean()), float(new.mean())),
            (auc(champion.y_hat, positive), auc(challenger.y_hat, positive)),
            float((gains > settings.min_improvement).mean()),
            interval(gains, 0.95),
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
            "loss_gain_low": self.loss_gain[0],
            "loss_gain_high": self.loss_gain[1],
            "better_share": self.better,
            "champion_auc": self.aucs[0],
            "challenger_auc": self.aucs[1],
            "auc_gain_low": self.auc_gain[0],
            "auc_gain_high": self.auc_gain[1],
        }

    def sentence(self, settings: GateSettings) -> str:
        drawn = "users" if self.drawn.are_users else "rows"
        by = f" by more than {settings.min_improvement:g}" if settings.min_improvement else ""
        told = (
            f"loss {self.losses[1]:.4f} against {self.losses[0]:.4f}, better{by} in {_percent(self.better)} "
            f"of {settings.samples:,} resamples of {self.drawn.size:,} {drawn} "
            f"(at least {_percent(settings.confidence)})"
        )
        if np.isfinite(self.aucs).all():
            told += f"; AUC {_auc_text(self.aucs[1])} against {_auc_text(self.aucs[0])}"
        return told


def _not_comparable(
    champion: Predictions, challenger: Predictions, rows: int, settings: GateSettings
) -> str | None:
    """Say why there is nothing to compare, if so."""
    if rows < settings.min_examples:
        return f"{rows:,} examples are too few to judge by (at least {settings.min_examples:,})"
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
    }
    return {name: value for name, value in times.items() if np.isfinite(value)}


def _told_times(champion: Predictions, challenger: Predictions) -> str:
    if not np.isfinite([champion.ms_per_text, challenger.ms_per_text]).all():
        return ""
    return f"; {challenger.ms_per_text:.2f} ms a text against {champion.ms_per_text:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _auc_text(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")
