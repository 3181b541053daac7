"""Each metric with its bootstrap interval. Pure.

No metric ranks within a user. The model and the baselines learn while they are judged: a positive outcome raises the
user's later predictions, so within the user positives have lower predictions than negatives. Even a good predictor
then looks worse than chance. Such a metric needs predictions from the user's state as of the start of the slice, and
stored predictions are not of that kind.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model import metrics
from model.influence import influence
from model.metrics import CALIBRATION_BINS, THRESHOLD
from trainer.evaluation.resampling import FloatArray, Units, WeightedAuc, draws, interval, units

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure and its percentile interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good predictions are.

    metrics: by name. examples: how many rows. drawn: what the bootstrap drew, users or rows; units: how many.
    confidence: of the intervals.
    """

    metrics: Mapping[str, Metric]
    examples: int
    drawn: str
    units: int
    samples: int
    confidence: float

    def to_plain(self) -> dict[str, object]:
        """Return what JSON can hold: a figure that is not defined is null."""
        return {
            "examples": self.examples,
            "drawn": self.drawn,
            "units": self.units,
            "samples": self.samples,
            "confidence": self.confidence,
            "metrics": {
                name: {"value": _plain(m.value), "low": _plain(m.low), "high": _plain(m.high)}
                for name, m in self.metrics.items()
            },
        }

    def values(self) -> dict[str, float]:
        """Return the defined figures alone, as a manifest keeps them."""
        return {name: m.value for name, m in self.metrics.items() if math.isfinite(m.value)}


def evaluate(
    y: Floats,
    z: Floats | None,
    y_hat: Floats,
    z_hat: Floats | None,
    user_ids: NDArray[np.str_] | None,
    *,
    lam: float | None = None,
    samples: int = 500,
    seed: int = 0,
    confidence: float = 0.95,
) -> Evaluation:
    """Measure predictions of N rows, with percentile intervals by drawing users (rows if there is one user).

    y, y_hat: (N,). z: (N,), NaN where it is not known; z_hat: (N,). Either may be None, as baselines have none.
    lam: the weight of z in loss and influence; without it, or without z_hat, they are left out.
    Intervals of a handful of users are rough. Raises ValueError if N is 0, or y_hat or z_hat is not finite.
    """
    _check(y, z, y_hat, z_hat, user_ids)
    drawn = units(user_ids, len(y))
    parts = _Parts.of(y, z, y_hat, z_hat, drawn, lam)
    sampled: dict[str, list[FloatArray]] = {}
    for counts in draws(drawn, samples, seed):
        for name, values in parts.of_samples(counts).items():
            sampled.setdefault(name, []).append(values)
    once = parts.of_samples(np.ones((1, drawn.size)))
    measured = {
        name: Metric(float(once[name][0]), *interval(np.concatenate(chunks), confidence))
        for name, chunks in sampled.items()
    }
    return Evaluation(
        measured,
        len(y),
        "users" if drawn.are_users else "rows",
        drawn.size,
        samples,
        confidence,
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What every sample's metrics are sums of.

    sums: float64 (U, K), of each unit, in the order of names. aucs: by name. predicted, observed: (U, B), sums by
    calibration bin.
    """

    names: tuple[str, ...]
    sums: FloatArray
    aucs: Mapping[str, WeightedAuc]
    predicted: FloatArray
    observed: FloatArray
    drawn: Units

    @classmethod
    def of(
        cls, y: Floats, z: Floats | None, y_hat: Floats, z_hat: Floats | None, drawn: Units, lam: float | None
    ) -> "_Parts":
        positive, called = y >= THRESHOLD, y_hat >= THRESHOLD
        squares = (y_hat.astype(np.float64) - y) ** 2
        rows = {
            "rows": np.ones(len(y)),
            "positives": positive,
            "called": called,
            "true_positives": positive & called,
            "squares": squares,
            "log_losses": metrics.log_losses(y_hat, y),
        }
        aucs = {"auc": WeightedAuc(y_hat, positive)}
        if z is not None and z_hat is not None:
            known = np.isfinite(z)
            z_squares = np.where(known, (z_hat.astype(np.float64) - np.nan_to_num(z)) ** 2, 0.0)
            rows |= {"known_z": known, "z_squares": z_squares}
            if lam is not None:
                rows["losses"] = squares + lam * z_squares
                published = influence(y_hat.astype(np.float32), z_hat.astype(np.float32), lam)
                aucs["influence_auc"] = WeightedAuc(published, positive)
        cells = drawn.of_row * CALIBRATION_BINS + metrics.calibration_bins(y_hat)
        shape = (drawn.size, CALIBRATION_BINS)
        return cls(
            tuple(rows),
            np.stack([np.bincount(drawn.of_row, row, drawn.size) for row in rows.values()], axis=1),
            aucs,
            np.bincount(cells, metrics.clipped(y_hat), shape[0] * shape[1]).reshape(shape).astype(np.float64),
            np.bincount(cells, y, shape[0] * shape[1]).reshape(shape).astype(np.float64),
            drawn,
        )

    def of_samples(self, counts: FloatArray) -> dict[str, FloatArray]:
        """Return each metric of C samples, (C,), for how often each unit was drawn, (C, U)."""
        sums = dict(zip(self.names, (counts @ self.sums).T, strict=True))  # each (C,)
        total, positives, called = sums["rows"], sums["positives"], sums["called"]
        hits = sums["true_positives"]
        weights = counts[:, self.drawn.of_row]  # (C, N)
        found = {name: weighted(weights) for name, weighted in self.aucs.items()}
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is the NaN that says "not defined"
            found |= {
                "mse": sums["squares"] / total,
                "log_loss": sums["log_losses"] / total,
                "calibration_error": np.abs(counts @ (self.predicted - self.observed)).sum(1) / total,
                "accuracy": (total - positives - called + 2 * hits) / total,
                "precision": hits / called,
                "recall": hits / positives,
                "f1": 2 * hits / (positives + called),
                "positive_rate": positives / total,
            }
            if "known_z" in sums:
                found["mse_z"] = sums["z_squares"] / sums["known_z"]
            if "losses" in sums:
                found["loss"] = sums["losses"] / total
        return found


def _check(
    y: Floats, z: Floats | None, y_hat: Floats, z_hat: Floats | None, user_ids: NDArray[np.str_] | None
) -> None:
    lengths = {len(part) for part in (y, z, y_hat, z_hat, user_ids) if part is not None}
    if lengths == {0} or len(lengths) > 1:
        raise ValueError(f"all parts must have one length, 1 or more; they have {sorted(lengths)}")
    for name, part in (("y_hat", y_hat), ("z_hat", z_hat)):
        if part is not None and not np.isfinite(part).all():
            wrong = int((~np.isfinite(part)).sum())
            raise ValueError(
                f"{wrong} of {len(part)} values of {name} are NaN or infinite: nothing to measure"
            )


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
