"""A worker's exit status is 0 after a signal, and only then."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faust
import pytest

from stream.exactly_once.driver.ending import EndingWorker


class App(faust.App):  # type: ignore[misc]
    """An app without brokers that runs one action after its start. failure: the engine's failure, if any."""

    failure: BaseException | None = None
    action: "Callable[[App], Any]"
    fails_on_stop: BaseException | None = None

    async def start(self) -> None:
        self._started.set()
        self.add_future(self._act())

    async def _act(self) -> None:
        await asyncio.sleep(0)
        self.action(self)

    async def stop(self) -> None:
        self._stopped.set()
        if self.fails_on_stop is not None:
            raise self.fails_on_stop


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the second that Mode sleeps before it closes its loop."""

    async def at_once(_worker: EndingWorker) -> None: ...

    monkeypatch.setattr(EndingWorker, "_sentinel_task", at_once)


def status_of(tmp_path: Path, action: Callable[[App], Any], **state: Any) -> Any:
    """Run a worker until it ends; return its exit status."""
    loop = asyncio.new_event_loop()
    app = App("ending", broker="memory://", datadir=str(tmp_path), loop=loop)
    app.action = action
    for name, value in state.items():
        setattr(app, name, value)
    with (tmp_path / "stderr").open("w") as stderr, pytest.raises(SystemExit) as end:
        EndingWorker(
            app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True, stderr=stderr
        ).execute_from_commandline()
    return end.value.code


def fail(_app: App) -> None:
    raise LookupError("a fault in a task")


def signalled(_app: App) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_status_is_0_after_a_signal(tmp_path: Path) -> None:
    assert status_of(tmp_path, signalled) == 0


def test_a_failed_shutdown_after_a_signal_keeps_status_0(tmp_path: Path) -> None:
    assert status_of(tmp_path, signalled, fails_on_stop=OSError("the broker is unreachable")) == 0


def test_the_status_is_1_after_a_failed_task(tmp_path: Path) -> None:
    assert status_of(tmp_path, fail) == 1


def test_an_engine_failure_gives_status_1_despite_a_signal(tmp_path: Path) -> None:
    assert status_of(tmp_path, signalled, failure=OSError("no room")) == 1


def test_the_status_is_1_after_a_stop_without_signal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert status_of(tmp_path, lambda app: app.add_future(app.beacon.root.data.stop())) == 1
    assert "stopped without a signal" in caplog.text
