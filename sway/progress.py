"""Training progress: one bar per stage on a terminal, lines otherwise."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from trainer.progress import OnProgress
    from trainer.progress import Progress as TrainingProgress

_TICK_S = 1.0


def show_progress(console: Console) -> "AbstractContextManager[OnProgress]":
    """Show training progress while the block runs. Yields the callback for the training.

    A terminal shows bars. Otherwise each stage prints a line at its start and end, and at least one every 30 s.
    """
    return _bars(console) if console.is_terminal else _lines(console)


@contextmanager
def _bars(console: Console) -> "Iterator[OnProgress]":
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


@contextmanager
def _lines(console: Console) -> "Iterator[OnProgress]":
    from trainer.progress import Progress as TrainingProgress
    from trainer.progress import ProgressLines

    lines = ProgressLines(
        lambda line: console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
    )
    lines(TrainingProgress("preparing", 0, 0))
    with _ticking(lines.tick):
        yield lines


@contextmanager
def _ticking(tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` every second on a background thread while the block runs."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_TICK_S):
            tick()

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
