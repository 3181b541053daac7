"""The report's plots as PNG files, rendered headless and without pyplot's global state."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model import metrics
from model.metrics import THRESHOLD

Floats = NDArray[np.floating]

_INCHES = (5.0, 4.0)
_DPI = 110
_OURS = "#1f6feb"
_GREY = "#999999"


def draw_all(
    folder: Path,
    y: Floats,
    y_hat: Floats,
    baselines: Mapping[str, Floats],
    curves: Sequence[Mapping[str, float]] = (),
) -> dict[str, Path]:
    """Draw the plots into a folder; return the files by title.

    y, y_hat and each baseline: (N,). curves: log entries of the training, with `step` and any metrics; without them
    there is no training plot.
    """
    drawn = {
        "ROC": (folder / "roc.png", roc(y, y_hat, baselines)),
        "Precision and recall": (folder / "precision_recall.png", precision_recall(y, y_hat, baselines)),
        "Calibration": (folder / "calibration.png", calibration(y, y_hat)),
    }
    if any(len(row) > 1 for row in curves):
        drawn["Training"] = (folder / "training.png", training(curves))
    for path, figure in drawn.values():
        FigureCanvasAgg(figure).print_png(str(path))  # type: ignore[no-untyped-call]
    return {title: path for title, (path, _) in drawn.items()}


def roc(y: Floats, y_hat: Floats, baselines: Mapping[str, Floats]) -> Figure:
    """Draw the ROC curves of the model and the baselines."""
    figure, axes = _axes("false positive rate", "true positive rate")
    for name, scores, colour, width in _lines(y_hat, baselines):
        curve = metrics.roc_curve(scores, y >= THRESHOLD)
        area = metrics.auc(scores, y >= THRESHOLD)
        axes.plot(curve.x, curve.y, color=colour, linewidth=width, label=f"{name} (AUC {area:.3f})")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
    axes.legend(loc="lower right", fontsize="small")
    return figure


def precision_recall(y: Floats, y_hat: Floats, baselines: Mapping[str, Floats]) -> Figure:
    """Draw the precision-recall curves of the model and the baselines."""
    figure, axes = _axes("recall", "precision")
    for name, scores, colour, width in _lines(y_hat, baselines):
        curve = metrics.precision_recall_curve(scores, y >= THRESHOLD)
        axes.plot(curve.x, curve.y, color=colour, linewidth=width, label=name)
    axes.axhline(float(np.mean(y >= THRESHOLD)), color=_GREY, linestyle=":", linewidth=1)
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower left", fontsize="small")
    return figure


def calibration(y: Floats, y_hat: Floats) -> Figure:
    """Draw observed against predicted outcomes, in bins of equal mass."""
    curve = metrics.calibration_curve(y_hat, y)
    figure, axes = _axes("predicted", "observed")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
    axes.plot(curve.predicted, curve.observed, color=_OURS, marker="o", markersize=4)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return figure


def training(curves: Sequence[Mapping[str, float]]) -> Figure:
    """Draw each metric of the training against the step."""
    figure, axes = _axes("step", "")
    names = sorted({name for row in curves for name in row} - {"step", "epoch"})
    for index, name in enumerate(names):
        points = [(row.get("step", place), row[name]) for place, row in enumerate(curves) if name in row]
        axes.plot(*zip(*points, strict=True), color=f"C{index}", label=name, marker=".", linewidth=1)
    axes.legend(fontsize="small")
    return figure


def _lines(y_hat: Floats, baselines: Mapping[str, Floats]) -> list[tuple[str, Floats, str, float]]:
    """Return name, scores, colour and width of each curve, the model last. Omit constant baselines."""
    lines = [
        (name, scores, f"C{index + 1}", 1.0)
        for index, (name, scores) in enumerate(baselines.items())
        if np.ptp(scores) > 0
    ]
    return [*lines, ("y_hat", y_hat, _OURS, 2.0)]


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, alpha=0.2)
    return figure, axes
