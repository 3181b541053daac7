"""`sway doctor`."""

import os
from typing import Annotated

import typer
from rich.console import Console

from sway.configuration import load_settings
from sway.doctor.findings import Finding, Status, as_json, as_table, fail, summary, worst
from sway.errors import CommandError


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Timeout of each check, in seconds.")] = 120.0,
) -> None:
    """Check settings, cluster, model and speed.

    Checks the settings, the broker, topics, keys, the state folder, the web port, the device, the model and its speed.
    Each problem comes with advice. The command reads a few hundred of the newest events and outcomes, loads the model
    and measures it for a few seconds. It changes nothing, joins no consumer group and may run beside workers. It exits
    with status 1 if a check is a FAIL, also after its timeout; a warn does not change the status. Calls to the broker
    time out after SWAY_KAFKA__CONNECT_TIMEOUT_S.

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
    with errors.status("loading", spinner="dots") as status:
        # Imported here because Faust and torch take seconds to import.
        from sway.doctor.checks import EXPECTED, Doctor
        from sway.doctor.run import run_checks

        checks = Doctor(settings, os.environ).checks()
        return list(run_checks(checks, limit_s=limit_s, expected=EXPECTED, on_check=status.update))
