"""Runs a worker in this process until a signal or a failure ends it."""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from stream.errors import EndedError
from stream.exactly_once.driver.ending import EndingWorker
from stream.log import quiet_clients
from stream.settings import Settings
from stream.worker.app import SwayApp, build_app

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_QUIET = ("aiokafka", "faust", "httpx", "httpx2", "mode")


def run(settings: Settings, level: int = logging.INFO) -> None:
    """Build the app and run it; returns after SIGTERM or SIGINT, with what was ready committed.

    Raises what build_app raises, and what run_app raises.
    """
    set_up_log(level)
    run_app(build_app(settings), level)


def set_up_log(level: int) -> None:
    """Log to stderr, and keep the libraries quiet."""
    logging.basicConfig(level=level, stream=sys.stderr, format=_FORMAT)
    for name in _QUIET:  # their information is about themselves
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    quiet_clients()


def run_app(app: SwayApp, level: int = logging.INFO) -> None:
    """Run an app; returns after SIGTERM or SIGINT, with what was ready committed.

    Raises what ended the worker: an ExactlyOnceError, a StreamError, a ModelError, or a fault in a timer or another
    task; EndedError if nothing says why.
    """
    app.open()  # what cannot work is refused here, with its own message
    with Path(os.devnull).open(
        "w"
    ) as nowhere:  # Faust's own words on a crash; ours are in the log and raised
        worker = EndingWorker(
            app, loglevel=level, override_logging=False, redirect_stdouts=False, quiet=True, stderr=nowhere
        )
        with suppress(SystemExit):
            worker.execute_from_commandline()
    if worker.ended_by_signal:
        return
    raise (
        app.failure or worker.crash_reason or EndedError("The worker stopped, and no signal asked for that.")
    )
