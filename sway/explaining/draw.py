"""An explanation as a picture: a bar for each behaviour, drawn without a screen."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sway.explaining.explained import Explained
from sway.explaining.show import GONE, strongest_first, time_words
from sway.tailing.show import printable

_MOST = 30
_WORDS = 48
_RAISES, _LOWERS = "#1f6feb", "#d1242f"
_ROW_INCHES = 0.28


def draw(found: Explained, path: Path) -> None:
    """Write the strongest effects, at most 30, as a PNG file."""
    rows = strongest_first(found)[:_MOST]
    figure = Figure(figsize=(9.0, 1.4 + _ROW_INCHES * max(len(rows), 1)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    effects = [row.effect for row in rows]
    axes.barh(range(len(rows)), effects, color=[_RAISES if effect > 0 else _LOWERS for effect in effects])
    labels = [f"{_cut(row.words or GONE)}  {time_words(row.at_ms)}" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize="small", parse_math=False)
    axes.invert_yaxis()
    axes.axvline(0, color="#999999", linewidth=1)
    axes.set_xlabel("effect on the influence")
    target = _cut(found.event.target)
    title = f"{printable(found.event.event_id)}: {target}  ({found.now.influence:.3f})"
    axes.set_title(title, fontsize="medium", parse_math=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))  # type: ignore[no-untyped-call]


def _cut(words: str) -> str:
    return words if len(words) <= _WORDS else words[: _WORDS - 1] + "…"
