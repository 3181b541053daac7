"""`sway compare`."""

from typing import Annotated

import typer

_RUN = "A topic of scores, by its full name or Sway's short one; a replay's folder; or a .parquet file."


def compare(
    run_a: Annotated[str, typer.Argument(help=_RUN)],
    run_b: Annotated[str, typer.Argument(help="The other run, alike.")],
    labels: Annotated[
        str | None,
        typer.Option(
            help="What came of the events: a topic of examples, or a folder or .parquet file with y, event_id and "
            "user_id [default: the examples of either run's folder, else the examples topic]."
        ),
    ] = None,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Look for no labels, and show no AUC.")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(min=0, help="What y_hat, z_hat and influence may differ by and still count as equal."),
    ] = 1e-5,
    movers: Annotated[int, typer.Option(min=0, help="How many of those that moved furthest to show.")] = 10,
    fail_over: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="End with status 1 if an influence moved by more, or a score has no counterpart: for CI.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object in place of the tables.")] = False,
) -> None:
    """Compare two runs of scores, joined by source offset: what is identical, what moved, and which is better.

    A run is what a topic holds when the command comes, or what a replay wrote. Joins no group and commits nothing.
    Where a run scored a source record twice, the last score counts.

    Example: `sway compare scores build/replay`, or `sway compare before after --fail-over 0.001 --json`
    """
    from rich.console import Console  # Arrow takes a while to import

    from sway.comparing import comparison
    from sway.comparing.runs import find_labels, read_labels, read_run
    from sway.comparing.show import as_json, as_tables
    from sway.configuration import load_settings
    from sway.errors import CommandError

    if labels and no_labels:
        raise CommandError("give either --labels or --no-labels")
    settings = load_settings()
    errors = Console(stderr=True)
    a = read_run(settings, run_a, errors)
    b = read_run(settings, run_b, errors)
    known = None
    if labels:
        known = read_labels(settings, labels, errors)
    elif not no_labels:
        known = find_labels(settings, (run_a, run_b), errors)
    found = comparison.compare(a, b, known, tolerance=tolerance, movers=movers, influence_limit=fail_over)
    if json:
        typer.echo(as_json(found))
    else:
        Console().print(*as_tables(found), sep="\n")
    if fail_over is not None and not found.agrees:
        raise typer.Exit(1)
