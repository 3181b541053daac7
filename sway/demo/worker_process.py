"""The demo's processes: `sway worker`, monitored by its health pages, and `sway trainer`."""

import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import psutil
from prometheus_client.parser import text_string_to_metric_families

from sway.demo.feeder import DemoFailedError
from sway.embedded.process import SupervisedProcess

_STOP_TIMEOUT_S = 30.0
_PAGE_TIMEOUT_S = 1.0
_LOG_LINES = 20
_READY_POLL_S = 0.1


class ChildProcess:
    """A `sway` command as a child process, as a context manager that stops it gracefully.

    The process also ends if the demo is killed.
    """

    def __init__(self, command: str, settings: Mapping[str, str], log: Path) -> None:
        """Prepare the process.

        command: the name of the `sway` command. settings: environment variables. log: the file for its output.
        """
        self._command = command
        self._settings = settings
        self._log = log.absolute()
        self._process: SupervisedProcess | None = None

    def __enter__(self) -> Self:
        self._process = SupervisedProcess(
            [sys.executable, "-m", "sway", self._command],
            self._log.parent,
            self._log.name,
            grace_s=_STOP_TIMEOUT_S,
            environment={**_environment_without_settings(), **self._settings},
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()

    @property
    def cpu_s(self) -> float:
        """The CPU time of the process, in seconds; 0 once it has ended."""
        if self._process is None:
            return 0.0
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    def check(self) -> None:
        """Raise DemoFailedError with the last lines of its log if the process has ended."""
        status = None if self._process is None else self._process.exit_status()
        if status is not None:
            lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            raise DemoFailedError(
                f"the {self._command} ended with status {status}; the end of its log:\n" + "\n".join(lines)
            )


class WorkerProcess(ChildProcess):
    """The worker process, monitored by its health pages."""

    def __init__(self, settings: Mapping[str, str], port: int, log: Path) -> None:
        """Prepare the worker. port: of its health pages."""
        super().__init__("worker", settings, log)
        self._url = f"http://127.0.0.1:{port}"

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until the worker is ready. Raises DemoFailedError if it ends or takes longer."""
        deadline = time.monotonic() + timeout_s
        while not self.metrics().get("sway_ready"):
            self.check()
            if time.monotonic() > deadline:
                raise DemoFailedError(f"the worker was not ready after {timeout_s:g} s; see {self._log}")
            time.sleep(_READY_POLL_S)

    def metrics(self) -> dict[str, float]:
        """Return the worker's metrics by name, summed over labels; empty while it does not respond."""
        try:
            with urllib.request.urlopen(f"{self._url}/metrics", timeout=_PAGE_TIMEOUT_S) as page:  # noqa: S310
                text = page.read().decode()
        except (OSError, urllib.error.URLError):
            return {}
        figures: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                figures[sample.name] = figures.get(sample.name, 0.0) + sample.value
        return figures


def _environment_without_settings() -> dict[str, str]:
    """Return the environment without SWAY_ variables, which may be set for another cluster."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SWAY_")}
