"""The tables of `sway evaluate`, at most 80 columns wide: metrics with intervals, and baselines."""

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from trainer.evaluation.page import NAMES, figure_text, shown_metrics

if TYPE_CHECKING:
    from trainer.evaluation.report import Compared
    from trainer.evaluation.scoring import Times

_COMPARED = ("auc", "mse", "log_loss", "calibration_error")


def metrics_table(version: str, compared: "Compared") -> Table:
    """Return a table of the version's metrics with their intervals."""
    ours = next(iter(compared.evaluations.values()))
    table = _table(escape(version), "value", f"{ours.confidence:.0%} interval")
    for name in shown_metrics(compared.evaluations):
        if metric := ours.metrics.get(name):
            interval = f"{figure_text(metric.low)} to {figure_text(metric.high)}"
            table.add_row(NAMES[name], figure_text(metric.value), interval)
    return table


def baselines_table(version: str, compared: "Compared") -> Table:
    """Return a table with a row for the version and one for each baseline."""
    table = _table("", *(NAMES[name] for name in _COMPARED))
    for place, (who, found) in enumerate(compared.evaluations.items()):
        metrics = [found.metrics.get(name) for name in _COMPARED]
        cells = [figure_text(metric.value) if metric else "" for metric in metrics]
        table.add_row(who if place else escape(version), *cells)
    return table


def time_text(times: "Times") -> str:
    """Return the time per text, as one line."""
    if times.cold != times.cold:  # NaN: a joint model keeps no vectors
        return f"{times.warm:.2f} ms per text"
    return f"{times.warm:.2f} ms per text, {times.cold:.2f} with an empty vector cache"


def _table(first: str, *figures: str) -> Table:
    table = Table(first, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in figures:
        table.add_column(name, justify="right")
    return table
