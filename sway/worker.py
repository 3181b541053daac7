"""`sway worker`."""

import logging
from typing import Annotated

import typer

from sway.configuration import load_settings

_LEVELS = ("debug", "info", "warning", "error")


def worker(
    loglevel: Annotated[str, typer.Option(help=f"Log level: {', '.join(_LEVELS)}.")] = "info",
) -> None:
    """Run a scoring worker.

    Reads events and outcomes, and writes scores and dead letters, until SIGTERM or Ctrl-C. Run up to one worker per
    partition, each with its own SWAY_STATE_DIR. The worker serves /livez, /readyz and /metrics at SWAY_WEB__HOST and
    SWAY_WEB__PORT. It is the same app as under Faust's command line: `faust -A stream.app worker`.

    Example: `SWAY_STATE_DIR=state/a SWAY_WEB__PORT=6067 sway worker`
    """
    if loglevel not in _LEVELS:
        raise typer.BadParameter(f"{loglevel!r} is not one of {', '.join(_LEVELS)}", param_hint="--loglevel")
    settings = load_settings()
    # Imported here because Faust and torch take seconds to import.
    from stream.worker.run import run

    run(settings, logging.getLevelName(loglevel.upper()))
