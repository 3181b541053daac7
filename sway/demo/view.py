"""The demo's terminal output: the live view, and the tables at the end."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sway.demo.ledger import Ledger
from sway.demo.loop import Loop
from sway.demo.texts import ScoredText

_RECENT_S = 5.0


class LiveView:
    """The live view, a rich renderable; `update` refreshes it."""

    def __init__(self, total: int, ledger: Ledger, loop: Loop) -> None:
        self._ledger = ledger
        self._loop = loop
        self._figures: Mapping[str, float] = {}
        self._recent: list[tuple[float, int]] = []
        self._progress = Progress(
            TextColumn("[bold]scored"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._progress.add_task("scored", total=total)

    def update(self, figures: Mapping[str, float]) -> None:
        """Refresh the view. figures: the worker's metrics; {} keeps the last ones."""
        self._figures = figures or self._figures
        now_s = time.monotonic()
        self._recent.append((now_s, self._ledger.finished))
        self._recent = [(at_s, count) for at_s, count in self._recent if now_s - at_s <= _RECENT_S]
        self._progress.update(self._task, completed=self._ledger.finished)

    def __rich__(self) -> Any:
        aucs = self._ledger.aucs()
        table = Table.grid(padding=(0, 3))
        table.add_row(
            "events/s", _number(self._rate()), "lag", _number(self._figures.get("sway_lag_records"))
        )
        table.add_row(
            "micro-batch fill", _percent(self._fill()), "dead letters", str(self._ledger.dead_letters)
        )
        table.add_row(
            "latency p50",
            f"{_number(self._ledger.latency_ms(0.5))} ms",
            "p99",
            f"{_number(self._ledger.latency_ms(0.99))} ms",
        )
        table.add_row("labels", str(self._loop.labeled), "hand-overs", str(len(self._loop.handovers)))
        table.add_row(
            "model", self._ledger.versions[-1] if self._ledger.versions else "–", *self._last_verdict()
        )
        table.add_row(
            Text("AUC of the scores", style="bold"),
            Text(_auc(aucs["auc_live"]), style="bold green"),
            "item mean so far",
            _auc(aucs["auc_item_mean"]),
        )
        return Panel(Group(self._progress, table), title="sway demo: MovieLens-100K, live", expand=False)

    def line(self) -> str:
        """Return the view as one line, for output that is not a terminal."""
        aucs = self._ledger.aucs()
        return (
            f"{self._ledger.finished} ended, {_number(self._rate())} events/s, "
            f"fill {_percent(self._fill())}, p50 {_number(self._ledger.latency_ms(0.5))} ms, "
            f"p99 {_number(self._ledger.latency_ms(0.99))} ms, "
            f"AUC {_auc(aucs['auc_live'])} (item mean {_auc(aucs['auc_item_mean'])}), "
            f"{self._loop.labeled} labels, {len(self._loop.handovers)} hand-overs"
        )

    def _last_verdict(self) -> tuple[str, str]:
        verdicts = list(self._loop.verdicts.values())
        if verdicts:
            return "challenger", verdicts[-1].event
        return ("challenger", "in training") if self._loop.handovers else ("", "")

    def _rate(self) -> float:
        if len(self._recent) < 2:
            return float("nan")
        (from_s, before), (to_s, after) = self._recent[0], self._recent[-1]
        return (after - before) / (to_s - from_s) if to_s > from_s else float("nan")

    def _fill(self) -> float:
        count = self._figures.get("sway_batch_fill_count", 0.0)
        return self._figures.get("sway_batch_fill_sum", 0.0) / count if count else float("nan")


def texts_table(rows: Sequence[ScoredText]) -> Table:
    """Return a table of scored behaviours with their texts."""
    table = Table(
        title="Ten scored behaviours; the texts as the windows tell them now", show_lines=True, expand=True
    )
    table.add_column("what the model read: history, then the behaviour scored", ratio=1)
    table.add_column("influence", justify="right")
    table.add_column("y_hat", justify="right")
    table.add_column("came", justify="center")
    for row in rows:
        text = Text(row.history or "(no history)", style="dim")
        text.append("\n→ ")
        text.append(row.target, style="bold")
        table.add_row(text, f"{row.influence:.2f}", f"{row.y_hat:.2f}", "liked" if row.y >= 0.5 else "no")
    return table


def rivals_table(summary: Mapping[str, Any]) -> Table:
    """Return a table of AUC and CPU time per event, of Sway and the other models on the newest events."""
    table = Table(title=f"The newest {summary['newest_events']:,} events")
    table.add_column("")
    table.add_column("AUC", justify="right")
    table.add_column("CPU an event", justify="right")
    for name, row in summary["newest"].items():
        cost = row["cpu_ms"]
        table.add_row(name, _auc(row["auc"]), "" if cost is None else f"{cost:.2g} ms")
    return table


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Return a table of the summary's scalar values."""
    table = Table(title="Summary", show_header=False)
    for name, value in summary.items():
        if isinstance(value, Mapping):
            continue
        shown = f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
        table.add_row(name, shown)
    return table


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:,.0f}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"


def _auc(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
