"""Resolution of run and label arguments to topics, folders and files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stream.settings import Settings
from sway.cluster import Cluster
from sway.committed import OnProgress
from sway.compare import parquet, topic
from sway.compare.labels import Labels
from sway.compare.scores import Scores
from sway.errors import CommandError
from sway.topic_names import full_name

_OPTIONAL_CONNECT_S = 2.0
"""Connection timeout for labels that were not asked for: a missing cluster should not delay the command."""


def read_run(settings: Settings, run: str, console: Console) -> Scores:
    """Read a topic, a folder or a .parquet file. Short topic names take precedence over existing paths.

    Raises CommandError if there is no such run, or it contains no scores.
    """
    if path := _path(settings, run):
        return parquet.read_scores(path)
    name = _topic(settings, run)
    with _bar(console, name) as on_progress:
        return topic.read_scores(settings, name, on_progress)


def read_labels(settings: Settings, given: str, console: Console) -> Labels:
    """Read the given labels from a folder, a .parquet file or a topic.

    Raises CommandError if there is no such source, or it contains no labels.
    """
    if path := _path(settings, given):
        labels = parquet.read_labels(path)
    else:
        labels = _labels_of_topic(settings, _topic(settings, given), console)
    if not len(labels.y):
        raise CommandError(f"{given} contains no labels; use --no-labels to compare without them")
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
        # Otherwise a folder examples/ would hide the topic; ./examples names the folder.
        return None
    path = Path(given)
    if path.exists():
        return path
    # Topic names contain no slash.
    if os.sep in given or path.suffix == ".parquet":
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
