"""Figures of runs with their seeds, differences with intervals by users, and the aims they are held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.metrics import calibration_error, log_loss
from sway.movielens import Pair
from trainer.evaluation.resampling import WeightedAuc, draws, interval, units

Floats = NDArray[np.float64]

_SAMPLES = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The test rows of a run and what each of its seeds said: users, y: (N,); y_hat: (S, N)."""

    users: NDArray[np.str_]
    y: Floats
    y_hat: Floats
    valid_loss: float = float("nan")
    seconds: float = float("nan")

    @classmethod
    def of(cls, pairs: Sequence[Pair], y_hat: Sequence[Floats]) -> Self:
        """Take rows from events and outcomes."""
        users = np.array([event.user_id for event, _ in pairs])
        return cls(users, np.array([outcome.y for _, outcome in pairs]), np.stack(y_hat))

    @property
    def aucs(self) -> Floats:
        """Each seed's AUC, (S,)."""
        once = np.ones((1, len(self.y)))
        return np.array([WeightedAuc(said, self.y >= 0.5)(once)[0] for said in self.y_hat])

    @property
    def log_loss(self) -> float:
        """The mean over seeds."""
        return float(np.mean([log_loss(said, self.y) for said in self.y_hat]))

    @property
    def calibration_error(self) -> float:
        """The mean over seeds."""
        return float(np.mean([calibration_error(said, self.y) for said in self.y_hat]))


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """A figure, its interval where it is a difference, and its aim; None where it only informs."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    aim: str | None = None
    met: bool | None = None

    def to_plain(self) -> dict[str, object]:
        """Return what JSON can hold, figures to four places."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in plain.items()}


def difference(one: Scored, other: Scored, samples: int = _SAMPLES) -> tuple[float, float, float]:
    """Return the difference of mean AUCs over seeds, and its 95 % interval by drawing users, the same for both.

    Raises ValueError if the two are not of the same rows.
    """
    if not (np.array_equal(one.users, other.users) and np.array_equal(one.y, other.y)):
        raise ValueError("runs of different rows cannot be compared")
    drawn = units(one.users, len(one.y))
    positive = one.y >= 0.5
    mine, theirs = ([WeightedAuc(said, positive) for said in each.y_hat] for each in (one, other))
    found = []
    for counts in draws(drawn, samples, seed=0):
        weights = counts[:, drawn.of_row]  # (C, N)
        means = [np.mean([auc(weights) for auc in aucs], axis=0) for aucs in (mine, theirs)]
        found.append(means[0] - means[1])
    low, high = interval(np.concatenate(found), 0.95)
    return float(one.aucs.mean() - other.aucs.mean()), low, high


def rows(said: Mapping[str, Scored], counts: str, samples: int = _SAMPLES) -> list[SummaryRow]:
    """Return all figures that have an aim, missed ones too.

    counts: the name of the run on streaming counts. samples: of each bootstrap.
    """

    def between(one: Scored, other: Scored) -> tuple[float, float, float]:
        return difference(one, other, samples)

    window, totals, whole = (
        said[f"tower, {name}"] for name in ("window only", "window and running totals", "whole history")
    )
    best = min((totals, whole), key=lambda each: each.valid_loss)
    trees = said["LightGBM, window and running totals" if best is totals else "LightGBM, whole history"]
    off, frozen, tuned = (said[f"late, BERT {how}"] for how in ("off", "frozen", "tuned"))
    cold_off, cold_frozen, cold_tuned = (
        said[f"unseen items: late, BERT {how}"] for how in ("off", "frozen", "tuned")
    )
    second, hour = (said[f"tower, outcomes of {name} hidden"] for name in ("the same second", "one hour"))
    one, sixteen = said["tower, 1 partition"], said["tower, 16 partitions"]
    return [
        _at_least("window state only: AUC", float(window.aucs.mean()), 0.8),
        _at_least("with running totals or the whole history: AUC", float(best.aucs.mean()), 0.806),
        _difference("that - LightGBM on 21 streaming counts", between(best, said[counts]), low=0.015),
        _at_most("log-loss of that", best.log_loss, 0.535),
        _at_most("calibration error of that", best.calibration_error, 0.015),
        _difference("that - LightGBM on identical numbers", between(best, trees), value=0.002),
        _difference("late: BERT frozen - off", between(frozen, off)),
        _difference("late: BERT tuned - off", between(tuned, off), low=0.0),
        _difference("late: BERT tuned - frozen", between(tuned, frozen)),
        _difference("unseen items: BERT frozen - off", between(cold_frozen, cold_off)),
        _difference("unseen items: BERT tuned - off", between(cold_tuned, cold_off), value=0.05),
        _at_least("outcomes of the same second hidden: AUC", float(second.aucs.mean()), 0.785),
        _at_least("outcomes of one hour hidden: AUC", float(hour.aucs.mean()), 0.7375),
        _difference("16 partitions - 1", between(sixteen, one), value=-0.003),
    ]


def table(said: Mapping[str, Scored]) -> str:
    """Return all runs as Markdown."""
    lines = [
        "| | AUC, each seed | AUC | log-loss | calibration error | log-loss, validation | CPU s a seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in said.items():
        seeds = " ".join(_short(value) for value in each.aucs)
        figures = (each.aucs.mean(), each.log_loss, each.calibration_error, each.valid_loss)
        cells = " | ".join("" if np.isnan(value) else _short(value) for value in figures)
        seconds = "" if np.isnan(each.seconds) else f"{each.seconds:.0f}"
        lines.append(f"| {name} | {seeds} | {cells} | {seconds} |")
    return "\n".join(lines) + "\n"


def verdicts(found: Sequence[SummaryRow]) -> str:
    """Return the summary as Markdown."""
    lines = ["| | value | 95 % interval | aim | met |", "|---|---|---|---|---|"]
    for row in found:
        between = "" if row.low is None or row.high is None else f"{row.low:+.4f} to {row.high:+.4f}"
        met = "" if row.met is None else ("yes" if row.met else "no")
        lines.append(f"| {row.name} | {_short(row.value)} | {between} | {row.aim or ''} | {met} |")
    return "\n".join(lines) + "\n"


def _at_least(name: str, value: float, aim: float) -> SummaryRow:
    return SummaryRow(name, value, aim=f">= {aim:g}", met=value >= aim)


def _at_most(name: str, value: float, aim: float) -> SummaryRow:
    return SummaryRow(name, value, aim=f"<= {aim:g}", met=value <= aim)


def _difference(
    name: str, found: tuple[float, float, float], *, value: float | None = None, low: float | None = None
) -> SummaryRow:
    """value: the least that the difference should be; low: what the interval's lower bound should lie above."""
    if value is not None:
        return SummaryRow(name, *found, aim=f">= {value:g}", met=found[0] >= value)
    if low is not None:
        return SummaryRow(name, *found, aim=f"lower bound > {low:g}", met=found[1] > low)
    return SummaryRow(name, *found)


def _short(value: float) -> str:
    return f"{value:.4f}".replace("0.", ".", 1)
