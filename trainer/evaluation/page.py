"""The report as one HTML page that needs no other file. Pure but for reading the plots."""

import base64
import html
import math
from collections.abc import Mapping
from pathlib import Path

from trainer.evaluation.evaluation import Evaluation, Metric

NAMES = {
    "auc": "AUC",
    "influence_auc": "AUC of the influence",
    "mse": "MSE",
    "mse_z": "MSE of z",
    "loss": "loss L",
    "log_loss": "log-loss",
    "calibration_error": "calibration error",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "positive_rate": "positive rate",
}
"""What each metric is called where a person reads it, in the order of reading."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
small { color: #777; display: block; }
figure { display: inline-block; margin: .5rem; } img { max-width: 100%; }
"""


def render(
    title: str,
    evaluations: Mapping[str, Evaluation],
    plots: Mapping[str, Path],
    facts: Mapping[str, str],
) -> str:
    """Return the page.

    evaluations: the model's first, then each baseline's, by name. plots: PNG files by title, put into the page.
    facts: what is told above the table, such as the data and the version. All text is escaped.
    """
    told = "".join(f"<li>{html.escape(name)}: {html.escape(fact)}</li>" for name, fact in facts.items())
    figures = "".join(_figure(name, path) for name, path in plots.items())
    first = next(iter(evaluations.values()))
    note = f"{first.confidence:.0%} intervals by {first.samples:,} bootstrap samples of {first.units:,} {first.drawn}."
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1><ul>{told}</ul>\n{_table(evaluations)}\n"
        f"<p>{html.escape(note)}</p>\n{figures}</body></html>\n"
    )


def shown_metrics(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Return the names of the metrics that any evaluation has, in the order of reading."""
    return [name for name in NAMES if any(name in found.metrics for found in evaluations.values())]


def figure_text(value: float) -> str:
    """Write a figure with four decimals, or a dash where it is not defined."""
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _table(evaluations: Mapping[str, Evaluation]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in evaluations)
    rows = "".join(
        f'<tr id="{name}"><td>{html.escape(NAMES[name])}</td>'
        + "".join(_cell(found.metrics.get(name)) for found in evaluations.values())
        + "</tr>\n"
        for name in shown_metrics(evaluations)
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return "<td></td>"
    value, low, high = (figure_text(part) for part in (metric.value, metric.low, metric.high))
    return f"<td>{value}<small>{low} to {high}</small></td>"


def _figure(title: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    name = html.escape(title)
    return f'<figure><img alt="{name}" src="data:image/png;base64,{data}"><figcaption>{name}</figcaption></figure>\n'
