"""Rendering of docs/metrics.md from the metric definitions of worker and trainer; see tools/pages.py."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from stream.worker.metrics import WorkerMetrics
from tools.metric_notes import MEANINGS, WATCH
from trainer.metrics import TrainerMetrics

_INTRODUCTION = """
# Metrics

A worker serves `/metrics` in Prometheus' text format at `SWAY_WEB__HOST` and `SWAY_WEB__PORT`, a trainer at
`SWAY_TRAINER__WEB_HOST` and `SWAY_TRAINER__WEB_PORT`. A worker's counters rise when a unit is committed, so a unit that
is dropped and read again counts once.
"""
_HEADER = "| metric | type | meaning | watch for |\n|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric. name: its Prometheus name. labels: in order of definition."""

    name: str
    labels: tuple[str, ...]
    kind: str
    help: str


def worker_rows() -> list[MetricRow]:
    """Return the worker's metrics in order of definition."""
    return list(_rows(WorkerMetrics().registry))


def trainer_rows() -> list[MetricRow]:
    """Return the trainer's metrics in order of definition."""
    return list(_rows(TrainerMetrics().registry))


def page() -> str:
    """Return the page in Markdown."""
    sections = {"The worker": worker_rows(), "The trainer": trainer_rows()}
    tables = (f"\n## {title}\n\n{_HEADER}{''.join(map(_line, rows))}" for title, rows in sections.items())
    return _INTRODUCTION.lstrip() + "".join(tables)


def _rows(registry: CollectorRegistry) -> Iterator[MetricRow]:
    # Only collectors have the labels of a family without samples.
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            family = next(iter(collector.describe()))
            suffix = "_total" if family.type == "counter" else ""
            labels = tuple(collector._labelnames)
            yield MetricRow(family.name + suffix, labels, family.type, family.documentation)


def _line(row: MetricRow) -> str:
    labels = f"{{{','.join(row.labels)}}}" if row.labels else ""
    meaning = MEANINGS.get(row.name, row.help)
    return f"| `{row.name}{labels}` | {row.kind} | {meaning} | {WATCH.get(row.name, '')} |\n"
