"""`sway doctor` with settings that prevent every other check. No broker."""

import json

import pytest
from typer.testing import CliRunner

from sway.cli import app


def test_the_help_has_an_example() -> None:
    result = CliRunner().invoke(app, ["doctor", "--help"])
    assert result.exit_code == 0
    assert "Example: sway doctor" in result.output


def test_invalid_settings_are_the_only_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_TOPICS__PARTITIONS", "secret")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["check"], finding["status"]) == ("settings", "FAIL")
    assert "SWAY_TOPICS__PARTITIONS" in finding["found"]
    assert "secret" not in result.output
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "0 ok, 0 warn, 1 FAIL" in shown.stdout
