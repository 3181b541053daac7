"""Worker processes that start within a second: forked from a server that has imported torch, Faust and Sway.

What runs in them is `sway worker`, or another command; only the import is shared.
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
"""There is one server for all tests, and it loads at its start only: so all of them name the same."""


def context() -> ForkServerContext:
    """Return the server that workers are forked from; it starts with the first of them."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOADED)
    return made


class Forked:
    """A forked process with the part of subprocess.Popen's interface that a Worker uses."""

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
    """A Worker with a fault inside, perhaps: `inside` is what its next start brings with it."""

    inside = Inside()
    _ended_on_purpose = False

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait until it has ended, which is what the case wants; return its exit code."""
        status = super().wait(timeout_s)
        self._ended_on_purpose = True
        return status

    def kill(self) -> None:
        """End it in the middle of whatever it does (SIGKILL)."""
        self._ended_on_purpose = self._ended_on_purpose or self.runs
        super().kill()

    @property
    def ended_by_itself(self) -> bool:
        """Whether it has ended though nobody killed it, and nobody waited for that."""
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
    """Run a command in this process, `sway` or `faust`; its output goes to the file."""
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
