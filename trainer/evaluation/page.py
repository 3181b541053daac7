"""The evaluation report as a self-contained HTML page, rendered from page.html."""

import base64
import math
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from trainer.evaluation.evaluation import Evaluation

_TEMPLATES = Environment(
    loader=PackageLoader("trainer.evaluation", ""), autoescape=True, undefined=StrictUndefined
)
_PAGE = _TEMPLATES.get_template("page.html")

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
"""Display names of the metrics, in display order."""


def render(
    title: str,
    evaluations: Mapping[str, Evaluation],
    plots: Mapping[str, Path],
    facts: Mapping[str, str],
) -> str:
    """Return the HTML of the report.

    evaluations: by name, the model's first, then the baselines'. plots: PNG files by title, embedded in the page.
    facts: lines above the table, such as data and version. All text is escaped.
    """
    first = next(iter(evaluations.values()))
    return _PAGE.render(
        title=title,
        facts=facts,
        evaluations=evaluations,
        metrics=[(name, NAMES[name]) for name in shown_metrics(evaluations)],
        figure_text=figure_text,
        confidence=f"{first.confidence:.0%}",
        samples=f"{first.samples:,}",
        units=f"{first.units:,} {first.drawn}",
        images={name: base64.b64encode(path.read_bytes()).decode() for name, path in plots.items()},
    )


def shown_metrics(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Return the names of the metrics that any evaluation has, in display order."""
    return [name for name in NAMES if any(name in found.metrics for found in evaluations.values())]


def figure_text(value: float) -> str:
    """Format a value with four decimals; a dash if it is not finite."""
    return f"{value:.4f}" if math.isfinite(value) else "–"
