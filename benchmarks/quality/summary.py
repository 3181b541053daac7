"""Figures of runs over seeds, differences with user-level intervals, and aims."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.metrics import calibration_error, log_loss
from sway.demo.movielens import Pair
from trainer.evaluation.resampling import WeightedAuc, draws, interval, units

Floats = NDArray[np.float64]

FIRST_PART = "late"
"""The part of rows without a part, from summaries written before other parts existed."""

_SAMPLES = 1_000
_WITH_HISTORY = {
    "tower, window and running totals": "LightGBM, window and running totals",
    "tower, whole history": "LightGBM, whole history",
    "wide tower, whole history": "LightGBM, whole history",
}
"""Networks on numeric features, and LightGBM on the same features."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The test rows of a run and their scores by seed. users, y: (N,). y_hat: (S, N)."""

    users: NDArray[np.str_]
    y: Floats
    y_hat: Floats
    valid_loss: float = float("nan")
    seconds: float = float("nan")

    @classmethod
    def of(cls, pairs: Sequence[Pair], y_hat: Sequence[Floats]) -> Self:
        """Build from events and outcomes. y_hat: (N,) for each seed."""
        users = np.array([event.user_id for event, _ in pairs])
        return cls(users, np.array([outcome.y for _, outcome in pairs]), np.stack(y_hat))

    @property
    def aucs(self) -> Floats:
        """The AUC of each seed, (S,)."""
        once = np.ones((1, len(self.y)))
        return np.array([WeightedAuc(y_hat, self.y >= 0.5)(once)[0] for y_hat in self.y_hat])

    @property
    def log_loss(self) -> float:
        """The mean log-loss over seeds."""
        return float(np.mean([log_loss(y_hat, self.y) for y_hat in self.y_hat]))

    @property
    def calibration_error(self) -> float:
        """The mean calibration error over seeds."""
        return float(np.mean([calibration_error(y_hat, self.y) for y_hat in self.y_hat]))


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """A figure, its interval if it is a difference, and its aim, None in an informative row.

    value: None if a required run is missing; met is then None too. An int is a count.
    """

    name: str
    value: float | int | None = None
    low: float | None = None
    high: float | None = None
    aim: str | None = None
    met: bool | None = None

    def to_plain(self) -> dict[str, object]:
        """Return the row for JSON, with figures rounded to four places."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in plain.items()}


def difference(one: Scored, other: Scored, samples: int = _SAMPLES) -> tuple[float, float, float]:
    """Return the difference of the mean AUCs over seeds, and its 95 % interval by a paired bootstrap over users.

    Raises ValueError if the two have different rows.
    """
    if not (np.array_equal(one.users, other.users) and np.array_equal(one.y, other.y)):
        raise ValueError("runs of different rows cannot be compared")
    drawn = units(one.users, len(one.y))
    positive = one.y >= 0.5
    mine, theirs = ([WeightedAuc(y_hat, positive) for y_hat in each.y_hat] for each in (one, other))
    found = []
    for counts in draws(drawn, samples, seed=0):
        weights = counts[:, drawn.of_row]  # (C, N)
        means = [np.mean([auc(weights) for auc in aucs], axis=0) for aucs in (mine, theirs)]
        found.append(means[0] - means[1])
    low, high = interval(np.concatenate(found), 0.95)
    return float(one.aucs.mean() - other.aucs.mean()), low, high


def rows(scored: Mapping[str, Scored], counts: str, samples: int = _SAMPLES) -> list[SummaryRow]:
    """Return all figures of the summary, including missed aims and figures of missing runs.

    counts: the name of the run on streaming counts. samples: the number of bootstrap samples.
    """
    made = Figures(scored, samples)
    known = [name for name in _WITH_HISTORY if name in scored]
    best = min(known, key=lambda name: scored[name].valid_loss, default=next(iter(_WITH_HISTORY)))
    return [
        made.auc("window state only: AUC", "tower, window only", 0.8),
        made.auc("running totals or whole history, by validation: AUC", best, 0.806),
        made.difference("that - LightGBM on 21 streaming counts", best, counts, low=0.015),
        made.at_most("log-loss of that", best, "log_loss", 0.535),
        made.at_most("calibration error of that", best, "calibration_error", 0.015),
        made.difference("that - LightGBM on identical numbers", best, _WITH_HISTORY[best], value=0.002),
        made.difference("late: BERT frozen - off", "late, BERT frozen", "late, BERT off"),
        made.difference("late: BERT tuned - off", "late, BERT tuned", "late, BERT off", low=0.0),
        made.difference(
            "unseen items: BERT frozen - off",
            "unseen items: late, BERT frozen",
            "unseen items: late, BERT off",
        ),
        made.difference(
            "unseen items: BERT tuned - off",
            "unseen items: late, BERT tuned",
            "unseen items: late, BERT off",
            value=0.05,
        ),
        made.auc(
            "outcomes of the same second hidden: AUC", "tower, outcomes of the same second hidden", 0.785
        ),
        made.auc("outcomes of one hour hidden: AUC", "tower, outcomes of one hour hidden", 0.7375),
        made.difference("4 partitions - 1", "tower, 4 partitions", "tower, window and running totals"),
        made.difference(
            "16 partitions - 1", "tower, 16 partitions", "tower, window and running totals", value=-0.003
        ),
    ]


@dataclass(frozen=True, slots=True)
class Figures:
    """Maker of summary rows. scored: finished runs by name. samples: the number of bootstrap samples."""

    scored: Mapping[str, Scored]
    samples: int

    def auc(self, name: str, run: str, aim: float | None = None) -> SummaryRow:
        """Return a mean AUC. aim: the required minimum; None for an informative row."""
        aim_text = None if aim is None else f">= {aim:g}"
        if run not in self.scored:
            return SummaryRow(name, aim=aim_text)
        value = float(self.scored[run].aucs.mean())
        return SummaryRow(name, value, aim=aim_text, met=None if aim is None else value >= aim)

    def at_most(self, name: str, run: str, figure: str, aim: float) -> SummaryRow:
        """Return a figure that must be at most aim. figure: an attribute of Scored."""
        if run not in self.scored:
            return SummaryRow(name, aim=f"<= {aim:g}")
        value: float = getattr(self.scored[run], figure)
        return SummaryRow(name, value, aim=f"<= {aim:g}", met=value <= aim)

    def difference(
        self, name: str, one: str, other: str, *, value: float | None = None, low: float | None = None
    ) -> SummaryRow:
        """Return a difference of AUCs. value: its required minimum. low: the limit that its lower bound must exceed."""
        aim = f">= {value:g}" if value is not None else f"lower bound > {low:g}" if low is not None else None
        if one not in self.scored or other not in self.scored:
            return SummaryRow(name, aim=aim)
        found = difference(self.scored[one], self.scored[other], self.samples)
        met = found[0] >= value if value is not None else found[1] > low if low is not None else None
        return SummaryRow(name, *found, aim=aim, met=met)


def table(scored: Mapping[str, Scored]) -> str:
    """Return all runs as a Markdown table."""
    lines = [
        "| | AUC, each seed | AUC | log-loss | calibration error | log-loss, validation | CPU s a seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in scored.items():
        seeds = " ".join(_short(value) for value in each.aucs)
        figures = (each.aucs.mean(), each.log_loss, each.calibration_error, each.valid_loss)
        cells = " | ".join("" if np.isnan(value) else _short(value) for value in figures)
        seconds = "" if np.isnan(each.seconds) else f"{each.seconds:.0f}"
        lines.append(f"| {name} | {seeds} | {cells} | {seconds} |")
    return "\n".join(lines) + "\n"


def verdicts(found: Sequence[SummaryRow]) -> str:
    """Return the summary as a Markdown table."""
    lines = ["| | value | 95 % interval | aim | met |", "|---|---|---|---|---|"]
    for row in found:
        between = "" if row.low is None or row.high is None else f"{row.low:+.4f} to {row.high:+.4f}"
        met = "" if row.met is None else ("yes" if row.met else "no")
        lines.append(f"| {row.name} | {_value(row.value)} | {between} | {row.aim or ''} | {met} |")
    return "\n".join(lines) + "\n"


def keep(path: Path, part: str, found: Sequence[SummaryRow]) -> None:
    """Replace the rows of a part in the summary file; the rows of other parts are kept."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    rows = [row for row in kept if row.get("part", FIRST_PART) != part]
    rows += [{"part": part, **row.to_plain()} for row in found]
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _value(value: float | None) -> str:
    if value is None:
        return "not run"
    return f"{value:,}" if isinstance(value, int) else _short(value)


def _short(value: float) -> str:
    return f"{value:.4f}".replace("0.", ".", 1)
