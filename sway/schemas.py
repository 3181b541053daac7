"""`sway schemas register|check`."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from schemas.registration import SubjectStatus

_RETRY_S = 0.5
# A file or a pipe has no width at which to fold a line.
_WIDE = 250

app = typer.Typer(
    no_args_is_help=True,
    help="Manage schemas in a Schema Registry.",
)


@app.command()
def register(
    wait_s: Annotated[
        float, typer.Option(min=0, help="Seconds to retry while the registry is unreachable.")
    ] = 0.0,
) -> None:
    """Register the current schemas.

    Registers the schema of every topic under `<topic>-value`. Run it before the first worker that writes the Confluent
    format, and before each upgrade; it is safe to repeat. Subjects get compatibility BACKWARD, unless theirs is
    stricter. Exits with status 1 if the registry rejects a schema; the others are registered.

    Example: `SWAY_WIRE__REGISTRY_URL=http://registry:8081 sway schemas register`
    """
    from schemas.registration import register as register_one

    _report("registered", _for_every_subject(register_one, wait_s))


@app.command()
def check() -> None:
    """Check the registered schemas.

    Checks that every current schema is registered and compatible, and changes nothing. If not, prints for each such
    subject the problem and what to do, and exits with status 1.

    Example: `SWAY_WIRE__REGISTRY_URL=http://registry:8081 sway schemas check`
    """
    from schemas.registration import check as check_one

    _report("in order", _for_every_subject(check_one))


def _for_every_subject(
    ask: "Callable[[Any, str, type[Any]], SubjectStatus]", wait_s: float = 0.0
) -> "list[SubjectStatus]":
    from sway.configuration import load_settings
    from sway.errors import CommandError

    settings = load_settings()
    url = settings.wire.registry_url
    if url is None:
        raise CommandError(
            "no Schema Registry is set: set SWAY_WIRE__REGISTRY_URL (`sway up --registry` starts one and prints it)"
        )
    from schemas.errors import RegistryUnavailable
    from sway.schema_subjects import ask_all

    deadline = time.monotonic() + wait_s
    while True:
        try:
            return ask_all(settings.topics, url, ask)
        except RegistryUnavailable as exc:
            if time.monotonic() >= deadline:
                exc.add_note(
                    f"The registry is {_without_user(url)}: check SWAY_WIRE__REGISTRY_URL (wire.registry_url)."
                )
                raise
            time.sleep(_RETRY_S)


def _report(what: str, standings: "Sequence[SubjectStatus]") -> None:
    """Print the table and the problems; exit with status 1 if there are any."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    console.print(_table(standings), highlight=False)
    problems = [standing for standing in standings if standing.problem is not None]
    for standing in problems:
        typer.echo(f"{standing.subject}: {standing.problem}", err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"all {len(standings)} schemas are {what}")


def _table(standings: "Sequence[SubjectStatus]") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "subject", "record", "id", "version", "compatibility"):
        table.add_column(name, overflow="fold")
    for standing in standings:
        numbers = (
            "-" if number is None else str(number) for number in (standing.schema_id, standing.version)
        )
        state = "ok" if standing.problem is None else "PROBLEM"
        table.add_row(state, standing.subject, standing.record, *numbers, standing.level or "-")
    return table


def _without_user(url: str) -> str:
    """Return the address without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
