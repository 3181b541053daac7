"""`sway compare`."""

from typing import Annotated

import typer

_RUN = "A scores topic (full or short name), a replay folder, or a .parquet file."


def compare(
    run_a: Annotated[str, typer.Argument(help=_RUN)],
    run_b: Annotated[str, typer.Argument(help="The run to compare it with.")],
    labels: Annotated[
        str | None,
        typer.Option(
            help="Labels: an examples topic, or a folder or .parquet file with y, event_id and user_id "
            "[default: the examples in either run's folder, else the examples topic]."
        ),
    ] = None,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Compare without labels and without AUC.")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(min=0, help="Largest difference in y_hat, z_hat and influence that counts as equal."),
    ] = 1e-5,
    movers: Annotated[int, typer.Option(min=0, help="Number of largest changes to show.")] = 10,
    fail_over: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Exit with status 1 if an influence differs by more, or a score has no counterpart.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Compare two runs of scores.

    Joins the runs by source offset. Shows which scores are identical, how far the others differ and, with labels, the
    AUC of both runs. A run is the content of a topic at the start of the command, or the output of a replay. If a run
    scored a source record twice, the last score counts. The command joins no consumer group and commits nothing.

    Example: `sway compare scores build/replay`, or `sway compare before after --fail-over 0.001 --json`
    """
    # Imported here because Arrow is slow to import.
    from rich.console import Console

    from sway.compare import comparison
    from sway.compare.runs import find_labels, read_labels, read_run
    from sway.compare.show import as_json, as_tables
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
