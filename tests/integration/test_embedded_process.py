"""The supervisor: a command ends with its owner, which gets its exit status."""

import sys
from pathlib import Path

import psutil
import pytest

from sway.embedded.errors import EmbeddedError
from sway.embedded.process import SupervisedProcess
from tests.integration.conftest import wait_for

STUBBORN = """
import pathlib, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("ready").touch()
signal.pause()
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_exit_status_and_output_are_kept(tmp_path: Path) -> None:
    process = SupervisedProcess(python("import sys; print('output'); sys.exit(3)"), tmp_path, "out.log")
    wait_for(lambda: process.exit_status() == 3, "exit status")
    process.stop()
    assert (tmp_path / "out.log").read_text() == "output\n"


def test_stop_sends_sigterm_and_kill_sends_sigkill(tmp_path: Path) -> None:
    asked = SupervisedProcess(["sleep", "600"], tmp_path, "out.log")
    asked.stop()
    assert asked.exit_status() == 128 + 15
    killed = SupervisedProcess(["sleep", "600"], tmp_path, "out.log")
    killed.kill()
    assert killed.exit_status() == 128 + 9


def test_a_command_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = SupervisedProcess(python(STUBBORN), tmp_path, "out.log", grace_s=0.1)
    wait_for((tmp_path / "ready").exists, "start of the command")
    process.stop()
    assert process.exit_status() == 128 + 9
    assert not psutil.pid_exists(process.pid)


def test_a_folder_is_kept_when_the_owner_stops_the_command(tmp_path: Path) -> None:
    SupervisedProcess(["sleep", "600"], tmp_path, "out.log", remove_folder=True).stop()
    assert (tmp_path / "out.log").exists()


def test_a_command_that_cannot_be_executed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="cannot execute no-such-command"):
        SupervisedProcess(["no-such-command"], tmp_path, "out.log")
    assert "No such file" in (tmp_path / "out.log").read_text()
