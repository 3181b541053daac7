"""Console output of a load: invalid rows, progress and summary."""

import time

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from sway.errors import CommandError

_MAX_SHOWN = 20


class BadRows:
    """The policy for invalid rows: stop at the first, or skip them and print the first few.

    skip: whether to skip. before: text about the rows before one that stops the load, for the error message.
    """

    def __init__(self, *, skip: bool, before: str = "") -> None:
        self._skip = skip
        self._before = before
        self._seen = 0

    def report(self, where: str, problem: str) -> None:
        """Print the problem of an invalid row. Raises CommandError unless invalid rows are skipped."""
        message = f"{where}: {problem}"
        if not self._skip:
            raise CommandError(f"{message}. {self._before}`--on-error skip` skips invalid rows")
        self._seen += 1
        if self._seen <= _MAX_SHOWN:
            typer.echo(message, err=True)
        if self._seen == _MAX_SHOWN:
            typer.echo("further invalid rows are counted, but not shown", err=True)


def progress_bar(*more: ProgressColumn) -> Progress:
    """Return a progress bar on stderr that disappears at the end; disabled if stderr is not a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        *more,
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def summary(acknowledged: int, topic: str, started: float, skipped: int) -> str:
    """Return the counts and the rate of a load. started: its start on the monotonic clock."""
    took_s = max(time.monotonic() - started, 0.001)
    rate = f"{acknowledged / took_s:,.0f}/s"
    return f"{acknowledged} records to {topic} in {took_s:.1f} s ({rate}), {skipped} rows skipped"
