"""`sway worker`."""

import logging
from typing import Annotated

import typer

from sway.configuration import load_settings

_LEVELS = ("debug", "info", "warning", "error")


def worker(
    loglevel: Annotated[str, typer.Option(help=f"One of {', '.join(_LEVELS)}.")] = "info",
) -> None:
    """Score events until SIGTERM or Ctrl-C: read events and outcomes, write scores and dead letters.

    Start as many as the topics have partitions, each with a state folder of its own. The pages /livez, /readyz
    and /metrics are at SWAY_WEB__HOST and SWAY_WEB__PORT. The same app runs under Faust's own command line:
    `faust -A stream.app worker`.

    Example: `SWAY_STATE_DIR=state/a SWAY_WEB__PORT=6067 sway worker`
    """
    if loglevel not in _LEVELS:
        raise typer.BadParameter(f"{loglevel!r} is not one of {', '.join(_LEVELS)}", param_hint="--loglevel")
    settings = load_settings()
    from stream.worker.run import run  # Faust and torch take seconds to import

    run(settings, logging.getLevelName(loglevel.upper()))
