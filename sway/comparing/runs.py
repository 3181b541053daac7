"""Which topic, folder or file a person names, and which labels there are."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stream.settings import Settings
from sway.cluster import Cluster
from sway.commands.tail import full_name
from sway.committed import OnProgress
from sway.comparing import parquet, topic
from sway.comparing.labels import Labels
from sway.comparing.scores import Scores
from sway.errors import CommandError

_OPTIONAL_CONNECT_S = 2.0
"""Nobody asked for these labels, so nobody waits long for a cluster that is not there."""


def read_run(settings: Settings, run: str, console: Console) -> Scores:
    """Read a topic, a folder or a .parquet file: Sway's short names are topics, and then what exists is a file.

    Raises CommandError if it is none of them, or holds no scores.
    """
    if path := _path(settings, run):
        return parquet.read_scores(path)
    name = _topic(settings, run)
    with _bar(console, name) as on_progress:
        return topic.read_scores(settings, name, on_progress)


def read_labels(settings: Settings, given: str, console: Console) -> Labels:
    """Read the labels that a person names, from a folder, a .parquet file or a topic.

    Raises CommandError if it is none of them, or holds no labels.
    """
    if path := _path(settings, given):
        labels = parquet.read_labels(path)
    else:
        labels = _labels_of_topic(settings, _topic(settings, given), console)
    if not len(labels.y):
        raise CommandError(f"{given} holds no labels; --no-labels compares without any")
    return labels


def find_labels(settings: Settings, runs: tuple[str, str], console: Console) -> Labels | None:
    """Return the examples of either run's folder, else those of the examples topic, else None."""
    for run in runs:
        path = _path(settings, run)
        if path and parquet.has_examples(path) and len((labels := parquet.read_labels(path)).y):
            return labels
    name = settings.topics.examples
    limit_s = min(settings.kafka.connect_timeout_s, _OPTIONAL_CONNECT_S)
    try:
        there = Cluster(settings.kafka.model_copy(update={"connect_timeout_s": limit_s})).view()
    except CommandError:
        return None
    if name not in there.partition_counts:
        return None
    labels = _labels_of_topic(settings, name, console)
    return labels if len(labels.y) else None


def _labels_of_topic(settings: Settings, name: str, console: Console) -> Labels:
    with _bar(console, name) as on_progress:
        return topic.read_labels(settings, name, on_progress)


def _path(settings: Settings, given: str) -> Path | None:
    if full_name(given, settings.topics) != given:
        return None  # or a folder such as examples/ would hide the topic; ./examples is the folder
    path = Path(given)
    if path.exists():
        return path
    if os.sep in given or path.suffix == ".parquet":  # a topic's name has no slash
        raise CommandError(f"there is no folder or file {given}")
    return None


def _topic(settings: Settings, given: str) -> str:
    name = full_name(given, settings.topics)
    if name not in Cluster(settings.kafka).view().partition_counts:
        raise CommandError(f"there is no topic {name}, and no folder or file {given}")
    return name


@contextmanager
def _bar(console: Console, name: str) -> Iterator[OnProgress]:
    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as shown:
        task = shown.add_task(name, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
