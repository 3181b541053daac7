"""Worker processes that start within a second: forked from a server that has imported torch, Faust and Sway.

They run `sway worker` or another command; only the imports are shared.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait as wait_for_end
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from tests.faults.inside import Inside
from tests.integration.workers import RunningProcess, Worker

PRELOADED = ["tests.faults.preloaded", "tests.integration.dying_leader", "tests.integration.killed_trainer"]
"""The modules that the fork server imports at its start. There is one server, so all tests use this list."""


def context() -> ForkServerContext:
    """Return the context of the fork server, which starts with the first worker."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOADED)
    return made


class Forked:
    """A forked process with the methods of subprocess.Popen that a Worker uses."""

    def __init__(self, process: ForkServerProcess) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self._process = process

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        if not wait_for_end([self._process.sentinel], timeout):
            raise subprocess.TimeoutExpired("sway worker", timeout or 0)
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedWorker(Worker):
    """A Worker that is forked. inside: the faults of its next start."""

    inside = Inside()
    _ended_on_purpose = False

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for an expected end of the process; return its exit code."""
        status = super().wait(timeout_s)
        self._ended_on_purpose = True
        return status

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._ended_on_purpose = self._ended_on_purpose or self.runs
        super().kill()

    @property
    def ended_by_itself(self) -> bool:
        """Whether it has ended without being killed and without anyone waiting for its end."""
        return self._process is not None and not self.runs and not self._ended_on_purpose

    def _launch(self, command: Sequence[str], environment: dict[str, str]) -> RunningProcess:
        self._ended_on_purpose = False
        process = context().Process(
            target=run, args=(environment, self.inside, str(self.log)), name=self.log.stem, daemon=True
        )
        process.start()
        return Forked(process)


def run(
    environment: Mapping[str, str], inside: Inside, log: str, arguments: Sequence[str] = ("sway", "worker")
) -> None:
    """Run `sway` or `faust` in this process, with its output appended to the log file."""
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    inside.arm()
    from faust.cli.faust import cli as faust

    from sway.cli import main as sway

    sys.argv = list(arguments)
    {"sway": sway, "faust": faust}[arguments[0]]()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
