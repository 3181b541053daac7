"""Metrics with bootstrap intervals. No I/O.

There is no metric that ranks within a user. The model and the baselines are updated during the evaluation: a positive
outcome raises the user's later predictions, so within a user positives have lower predictions than negatives, and even
a good predictor looks worse than chance. Such a metric needs predictions from the user's state at the start of the
slice, which stored predictions are not.
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
    """A value and its percentile interval; NaN if undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of predictions.

    metrics: by name. examples: the number of rows. drawn: the bootstrap's unit, "users" or "rows"; units: the number of
    them. samples, confidence: of the intervals.
    """

    metrics: Mapping[str, Metric]
    examples: int
    drawn: str
    units: int
    samples: int
    confidence: float

    def to_plain(self) -> dict[str, object]:
        """Return JSON-compatible values; an undefined value is None."""
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
        """Return the defined values by name, as in a manifest."""
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
    """Evaluate predictions of N rows, with percentile intervals from a bootstrap.

    The bootstrap's unit is the user, or the row if there is only one user.
    y, y_hat: (N,). z: (N,), NaN if unknown; z_hat: (N,). Both may be None, as for baselines.
    lam: the weight of z in loss and influence; without it, or without z_hat, these are omitted.
    Intervals from few users are imprecise. Raises ValueError if N is 0, lengths differ, or y_hat or z_hat is not
    finite.
    """
    _check(y, z, y_hat, z_hat, user_ids)
    drawn = units(user_ids, len(y))
    parts = _Sums.of(y, z, y_hat, z_hat, drawn, lam)
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
class _Sums:
    """Sums per unit, from which the metrics of any bootstrap sample are computed.

    sums: float64 (U, K), in the order of names. aucs: by name. predicted, observed: (U, B), sums per calibration bin.
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
    ) -> "_Sums":
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
        """Return each metric of C samples, (C,). counts: (C, U), the number of draws of each unit."""
        sums = dict(zip(self.names, (counts @ self.sums).T, strict=True))  # each (C,)
        total, positives, called = sums["rows"], sums["positives"], sums["called"]
        hits = sums["true_positives"]
        weights = counts[:, self.drawn.of_row]  # (C, N)
        found = {name: weighted(weights) for name, weighted in self.aucs.items()}
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is NaN, which means undefined
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
        raise ValueError(f"all arrays must have one length, 1 or more; they have {sorted(lengths)}")
    for name, part in (("y_hat", y_hat), ("z_hat", z_hat)):
        if part is not None and not np.isfinite(part).all():
            wrong = int((~np.isfinite(part)).sum())
            raise ValueError(
                f"{wrong} of {len(part)} values of {name} are NaN or infinite: nothing to measure"
            )


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
