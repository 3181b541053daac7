"""Runs a worker in this process until a signal or a failure ends it."""

import logging
import os
from contextlib import suppress
from pathlib import Path

from stream.errors import EndedError
from stream.exactly_once.driver.ending import EndingWorker
from stream.log import set_up_log
from stream.settings import Settings
from stream.worker.app import SwayApp, build_app


def run(settings: Settings, level: int = logging.INFO) -> None:
    """Build the app and run it; returns after SIGTERM or SIGINT, with ready units committed.

    Raises the exceptions of build_app and run_app.
    """
    set_up_log(level)
    run_app(build_app(settings), level)


def run_app(app: SwayApp, level: int = logging.INFO) -> None:
    """Run an app; returns after SIGTERM or SIGINT, with ready units committed.

    Raises the error that ended the worker: an ExactlyOnceError, a StreamError, a ModelError, or an exception of a timer
    or another task; EndedError if no cause is known.
    """
    app.open()  # fails with its own message, before Faust starts
    # Faust's output on a crash is discarded; ours is in the log and in the raised exception.
    with Path(os.devnull).open("w") as nowhere:
        worker = EndingWorker(
            app, loglevel=level, override_logging=False, redirect_stdouts=False, quiet=True, stderr=nowhere
        )
        with suppress(SystemExit):
            worker.execute_from_commandline()
    if worker.ended_by_signal:
        return
    raise app.failure or worker.crash_reason or EndedError("The worker stopped without a signal.")
