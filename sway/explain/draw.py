"""Drawing of an explanation as a bar chart, without a display."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sway.explain.effects import ScoreExplanation
from sway.explain.show import NO_TEXT, format_time, strongest_first
from sway.untrusted import printable

_MAX_BARS = 30
_MAX_LABEL = 48
_RAISES, _LOWERS = "#1f6feb", "#d1242f"
_ROW_INCHES = 0.28


def draw(found: ScoreExplanation, path: Path) -> None:
    """Write the strongest effects, at most 30, to a PNG file."""
    rows = strongest_first(found)[:_MAX_BARS]
    figure = Figure(figsize=(9.0, 1.4 + _ROW_INCHES * max(len(rows), 1)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    effects = [row.effect for row in rows]
    axes.barh(range(len(rows)), effects, color=[_RAISES if effect > 0 else _LOWERS for effect in effects])
    labels = [f"{_cut(row.text or NO_TEXT)}  {format_time(row.at_ms)}" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize="small", parse_math=False)
    axes.invert_yaxis()
    axes.axvline(0, color="#999999", linewidth=1)
    axes.set_xlabel("effect on the influence")
    target = _cut(found.event.target)
    title = f"{printable(found.event.event_id)}: {target}  ({found.now.influence:.3f})"
    axes.set_title(title, fontsize="medium", parse_math=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))  # type: ignore[no-untyped-call]


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_LABEL else text[: _MAX_LABEL - 1] + "…"
