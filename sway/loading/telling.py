"""What loading a file tells a person: rows that do not fit, and how far it is."""

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

_SHOWN_BAD_ROWS = 20


class BadRows:
    """Ends at a row that does not fit, or, to skip such rows, tells the first ones each and that there are more.

    before: what is said of the rows before one that ends it, as a sentence; empty for nothing.
    """

    def __init__(self, *, skip: bool, before: str = "") -> None:
        self._skip = skip
        self._before = before
        self._seen = 0

    def tell(self, where: str, problem: str) -> None:
        """Say what is wrong with the row that is there. Raises CommandError unless such rows are skipped."""
        told = f"{where}: {problem}"
        if not self._skip:
            raise CommandError(f"{told}. {self._before}`--on-error skip` leaves such rows out")
        self._seen += 1
        if self._seen <= _SHOWN_BAD_ROWS:
            typer.echo(told, err=True)
        if self._seen == _SHOWN_BAD_ROWS:
            typer.echo("further rows that do not fit are counted, not shown", err=True)


def progress_bar(*more: ProgressColumn) -> Progress:
    """Return a bar on stderr that is gone when it is done; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        *more,
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
