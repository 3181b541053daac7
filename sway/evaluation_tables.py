"""`sway evaluate`'s tables, 80 columns wide at most: a version's figures with intervals, and what it must beat."""

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from trainer.evaluation.page import NAMES, figure_text, shown_metrics

if TYPE_CHECKING:
    from trainer.evaluation.report import Compared
    from trainer.evaluation.scoring import Times

_COMPARED = ("auc", "mse", "log_loss", "calibration_error")


def figures(version: str, compared: "Compared") -> Table:
    """Return a row for each metric of the version, with its interval."""
    ours = next(iter(compared.evaluations.values()))
    table = _table(escape(version), "value", f"{ours.confidence:.0%} interval")
    for name in shown_metrics(compared.evaluations):
        if metric := ours.metrics.get(name):
            interval = f"{figure_text(metric.low)} to {figure_text(metric.high)}"
            table.add_row(NAMES[name], figure_text(metric.value), interval)
    return table


def beside_baselines(version: str, compared: "Compared") -> Table:
    """Return a row for the version and one for each baseline."""
    table = _table("", *(NAMES[name] for name in _COMPARED))
    for place, (who, found) in enumerate(compared.evaluations.items()):
        metrics = [found.metrics.get(name) for name in _COMPARED]
        told = [figure_text(metric.value) if metric else "" for metric in metrics]
        table.add_row(who if place else escape(version), *told)
    return table


def time_text(times: "Times") -> str:
    """Say what a text takes, in one line."""
    if times.cold != times.cold:  # NaN: a joint model keeps no vectors
        return f"{times.warm:.2f} ms a text"
    return f"{times.warm:.2f} ms a text, {times.cold:.2f} where no text's vector is kept yet"


def _table(first: str, *figures: str) -> Table:
    table = Table(first, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in figures:
        table.add_column(name, justify="right")
    return table
