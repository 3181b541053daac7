"""`sway demo`."""

from pathlib import Path
from typing import Annotated

import typer

# The ratings of MovieLens-100K after the oldest 10,000.
_ALL = 90_000


def demo(
    events: Annotated[int, typer.Option(min=100, max=_ALL, help="Number of ratings to stream.")] = 12_000,
    all_events: Annotated[bool, typer.Option("--all", help="Stream all 90,000 ratings.")] = False,
    in_flight: Annotated[
        int, typer.Option(min=1, max=64, help="Maximum number of events awaiting their score.")
    ] = 32,
    out: Annotated[Path, typer.Option(help="Folder for summary.json and the worker's log.")] = Path(
        "build/demo"
    ),
) -> None:
    """Score MovieLens-100K with a live view.

    Runs a local Kafka and a worker process. The first run fits a model on the oldest 10,000 ratings and keeps it in the
    user's cache folder. The command produces the following ratings as Avro events, which the worker scores. The outcome
    of a rating is sent once the score of its event is committed. Five invalid records are mixed in. Exits with status 1
    if an event was lost or scored twice.

    Example: `sway demo --events 1000`
    """
    # Imported here because torch and the Kafka client take seconds to import.
    from rich.console import Console

    from sway.demo.run import DemoOptions, run_demo

    summary = run_demo(DemoOptions(_ALL if all_events else events, in_flight, out), Console())
    if summary["lost"] or summary["duplicates"]:
        raise typer.Exit(1)
