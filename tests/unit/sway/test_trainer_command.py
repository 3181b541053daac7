"""`sway trainer` exits with status 0 only after a signal."""

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
    """Raised in place of ending the process with a status."""


class FakeService:
    """Service whose run() returns as after a signal, or raises. has_ended: whether its work has ended as well."""

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
def signal_handlers_restored() -> Iterator[None]:
    """Restore the test runner's signal handlers, which the command replaces."""
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in signals]
    yield
    for number, handler in zip(signals, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("has_ended", [True, False], ids=["all has ended", "a call goes on"])
def test_a_signal_ends_the_process_at_once(has_ended: bool) -> None:
    with pytest.raises(Exited) as ended:
        _run(FakeService(has_ended=has_ended))  # type: ignore[arg-type]
    assert ended.value.args == (0,)


def test_a_signal_before_the_service_exists_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "load_settings", lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Exited) as ended:
        command.trainer("info")
    assert ended.value.args == (0,)


def test_a_failure_during_a_call_exits_with_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Exited) as ended:
        _run(FakeService(ServiceError("Kafka refuses it"), has_ended=False))  # type: ignore[arg-type]
    assert ended.value.args == (1,)
    assert "Kafka refuses it" in caplog.text


def test_a_failure_reaches_the_command_line() -> None:
    with pytest.raises(ServiceError):
        _run(FakeService(ServiceError("Kafka refuses it"), has_ended=True))  # type: ignore[arg-type]


def test_a_work_folder_in_use_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWAY_TRAINER__WORK_DIR", str(tmp_path))
    monkeypatch.setenv("SWAY_TRAINER__NICE", "0")
    with claimed(tmp_path):
        result = CliRunner().invoke(app, ["trainer"])
    assert result.exit_code == 1
    assert result.output.startswith(f"sway: the work folder {tmp_path} is in use by another trainer")
