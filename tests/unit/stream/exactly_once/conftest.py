"""A fixture that several unit test files share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.running_engine import Running


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Running]:
    """Return a factory of running engines, to be called on the event loop."""

    def make(**options: Any) -> Running:
        return Running(tmp_path / "state", monkeypatch, **options)

    return make
