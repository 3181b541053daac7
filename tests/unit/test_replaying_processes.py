"""How a worker process of a replay ends."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from model.errors import RegistryError
from schemas.errors import ContractError, RegistryUnavailable
from stream.replay.errors import ReplayError
from sway.replay import processes

SETTINGS = SimpleNamespace(model=SimpleNamespace())
JOB = cast(processes.Job, SimpleNamespace(settings=SETTINGS, plan=SimpleNamespace(model_version="v7")))
ERRORS = [RegistryUnavailable("away"), ContractError("s-value is not registered"), ReplayError("no")]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No log, no parent, no model."""
    for name in ("set_up_log", "_exit_with_parent", "load_champion", "tune_garbage_collection"):
        monkeypatch.setattr(processes, name, lambda *_: None)


def end_of_a_child(monkeypatch: pytest.MonkeyPatch, step: str, error: Exception) -> Any:
    """What it ends with when a step of it fails."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(processes, step, fail)
    with pytest.raises(SystemExit) as ended:
        processes._child(JOB, 3, cast(Any, SimpleNamespace(send=None)))
    return ended.value.code


@pytest.mark.parametrize("error", ERRORS)
def test_it_says_in_a_line_what_ended_it(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    assert end_of_a_child(monkeypatch, "_work", error) == f"sway: worker 3: {error}"


def test_so_it_does_for_a_model_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RegistryError("v7 is gone")
    assert end_of_a_child(monkeypatch, "load_champion", error) == "sway: worker 3: v7 is gone"
