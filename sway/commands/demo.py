"""`sway demo`."""

from pathlib import Path
from typing import Annotated

import typer

_ALL = 90_000  # what MovieLens-100K holds after the oldest 10,000


def demo(
    events: Annotated[int, typer.Option(min=100, max=_ALL, help="How many ratings to stream.")] = 12_000,
    all_events: Annotated[bool, typer.Option("--all", help="Stream all 90,000.")] = False,
    in_flight: Annotated[
        int, typer.Option(min=1, max=64, help="Events produced whose score is not visible yet, at most.")
    ] = 32,
    out: Annotated[Path, typer.Option(help="Where summary.json and the worker's log go.")] = Path(
        "build/demo"
    ),
) -> None:
    """Run the main job on real data: MovieLens-100K, a real Kafka, a worker process, a live view.

    A model is fitted on the oldest 10,000 ratings (once; it is kept in your cache folder). The following events
    are produced as Avro and scored by a separate worker; each rating becomes an Outcome once the score of its
    event is visible to a read_committed reader. Five bad records are mixed in. Ends with exit code 1 if any event
    was lost or scored twice.

    Example: `sway demo --events 1000`
    """
    from rich.console import Console  # torch and Kafka's client take seconds to import

    from sway.demo.run import DemoOptions, run_demo

    summary = run_demo(DemoOptions(_ALL if all_events else events, in_flight, out), Console())
    if summary["lost"] or summary["duplicates"]:
        raise typer.Exit(1)
