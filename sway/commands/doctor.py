"""`sway doctor`."""

import os
from typing import Annotated

import typer
from rich.console import Console

from sway.configuration import load_settings
from sway.doctor.findings import Finding, Status, as_json, as_table, fail, summary, worst
from sway.errors import CommandError


def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON object in place of the table.")] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a check is given up and is a FAIL.")
    ] = 120.0,
) -> None:
    """Check settings, broker, topics, keys, state folder, model and speed: what is wrong and what to do.

    Reads a few hundred of the newest events and outcomes, loads the model and measures it for some seconds;
    changes nothing, joins no group and may run beside workers. A warn is worth reading; after a FAIL the
    command ends with status 1. Calls of the broker wait SWAY_KAFKA__CONNECT_TIMEOUT_S.

    Example: `sway doctor`, or `sway doctor --json | jq '.findings[] | select(.status != "ok")'`
    """
    findings = _examine(timeout)
    if json:
        typer.echo(as_json(findings))
    else:
        console = Console()
        console.print(as_table(findings))
        console.print(summary(findings))
    if worst(finding.status for finding in findings) is Status.FAIL:
        raise typer.Exit(1)


def _examine(limit_s: float) -> list[Finding]:
    try:
        settings = load_settings()
    except CommandError as exc:
        return [fail("settings", str(exc), "see docs/settings.md")]
    errors = Console(stderr=True)
    with errors.status("loading", spinner="dots") as status:  # shown on a terminal only
        from sway.doctor.checks import EXPECTED, Doctor  # Faust and torch take seconds to import
        from sway.doctor.run import run_checks

        checks = Doctor(settings, os.environ).checks()
        return list(run_checks(checks, limit_s=limit_s, expected=EXPECTED, on_check=status.update))
