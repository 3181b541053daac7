"""`sway trainer` ends with 0 after a signal alone."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sway import trainer as command
from sway.cli import app
from sway.trainer import _run
from trainer.claim import claimed
from trainer.errors import ServiceError


class Exited(BaseException):
    """The process has ended here, with this status."""


class Ending:
    """A service whose run() returns after a signal, or raises; what it began may go on."""

    def __init__(self, failure: Exception | None = None, *, has_ended: bool) -> None:
        self.has_ended = has_ended
        self._failure = failure

    def run(self) -> None:
        if self._failure is not None:
            raise self._failure


@pytest.fixture(autouse=True)
def no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(status: int) -> None:
        raise Exited(status)

    monkeypatch.setattr(os, "_exit", end)


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """The command sets signal handlers; the test runner's come back after it."""
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in signals]
    yield
    for number, handler in zip(signals, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("has_ended", [True, False], ids=["all has ended", "a call goes on"])
def test_a_signal_ends_the_process_at_once(has_ended: bool) -> None:
    with pytest.raises(Exited) as ended:
        _run(Ending(has_ended=has_ended))  # type: ignore[arg-type]
    assert ended.value.args == (0,)


def test_a_signal_before_the_service_is_made_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "load_settings", lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Exited) as ended:
        command.trainer("info")
    assert ended.value.args == (0,)


def test_a_failure_is_no_success_even_if_a_call_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Exited) as ended:
        _run(Ending(ServiceError("Kafka refuses it"), has_ended=False))  # type: ignore[arg-type]
    assert ended.value.args == (1,)
    assert "Kafka refuses it" in caplog.text


def test_a_failure_is_shown_by_the_command_line() -> None:
    with pytest.raises(ServiceError):
        _run(Ending(ServiceError("Kafka refuses it"), has_ended=True))  # type: ignore[arg-type]


def test_a_work_folder_in_use_ends_the_command_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWAY_TRAINER__WORK_DIR", str(tmp_path))
    monkeypatch.setenv("SWAY_TRAINER__NICE", "0")
    with claimed(tmp_path):
        result = CliRunner().invoke(app, ["trainer"])
    assert result.exit_code == 1
    assert result.output.startswith(f"sway: the work folder {tmp_path} is in use by another trainer")
