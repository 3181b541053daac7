"""The exit messages of a replay's worker processes."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from model.errors import RegistryError
from schemas.errors import ContractError, RegistryUnavailable
from stream.replay.errors import ReplayError
from sway.replay import processes

SETTINGS = SimpleNamespace(model=SimpleNamespace())
JOB = cast(processes.Job, SimpleNamespace(settings=SETTINGS, plan=SimpleNamespace(model_version="v7")))
ERRORS = [RegistryUnavailable("no answer"), ContractError("s-value is not registered"), ReplayError("no")]


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the log, the watch on the parent process and the model."""
    for name in ("set_up_log", "_exit_with_parent", "load_champion", "tune_garbage_collection"):
        monkeypatch.setattr(processes, name, lambda *_: None)


def exit_message(monkeypatch: pytest.MonkeyPatch, step: str, error: Exception) -> Any:
    """Return the exit message of a worker process when one of its steps fails."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(processes, step, fail)
    with pytest.raises(SystemExit) as ended:
        processes._child(JOB, 3, cast(Any, SimpleNamespace(send=None)))
    return ended.value.code


@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_worker_exits_with_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    assert exit_message(monkeypatch, "_work", error) == f"sway: worker 3: {error}"


def test_a_worker_without_its_model_exits_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RegistryError("v7 is missing")
    assert exit_message(monkeypatch, "load_champion", error) == "sway: worker 3: v7 is missing"
