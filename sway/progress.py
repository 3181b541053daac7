"""A training's progress as bars in the terminal, one a stage."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from trainer.progress import OnProgress
    from trainer.progress import Progress as TrainingProgress


@contextmanager
def bars(console: Console) -> "Iterator[OnProgress]":
    """Show bars while the block runs; gives what a training calls with its progress."""
    with Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as shown:
        tasks: dict[str, TaskID] = {}

        def show(progress: "TrainingProgress") -> None:
            task = tasks.get(progress.stage)
            if task is None:
                task = tasks[progress.stage] = shown.add_task(progress.stage, total=progress.total)
            shown.update(task, completed=progress.done, total=progress.total)

        yield show
