"""A worker with an invalid setup ends within seconds, with one line that names the cause and the setting."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sway.cli import app
from sway.embedded.ports import free_port
from tests.integration.workers import SWAY, Sway

Refused = Callable[..., str]


@pytest.fixture
def refused(sway: Sway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Refused:
    """Run `sway worker` with an invalid setup; return its last line."""

    def run(**settings: object) -> str:
        for name, value in {
            **sway.environment,
            "SWAY_STATE_DIR": str(tmp_path / "state"),
            **settings,
        }.items():
            monkeypatch.setenv(name, str(value))
        began = time.monotonic()
        result: Result = CliRunner().invoke(app, ["worker"])
        assert time.monotonic() - began < 15
        assert result.exit_code == 1, result.output
        lines: list[str] = result.stderr.splitlines()
        assert lines[-1].startswith("sway: "), result.stderr
        assert "Traceback" not in result.stderr
        return lines[-1]

    return run


def test_no_broker(refused: Refused) -> None:
    address = f"127.0.0.1:{free_port()}"
    line = refused(SWAY_KAFKA__BOOTSTRAP_SERVERS=address, SWAY_KAFKA__CONNECT_TIMEOUT_S=1)
    assert address in line
    assert "kafka.bootstrap_servers" in line


def test_no_broker_ends_the_process_within_seconds(sway: Sway) -> None:
    worker = sway.worker(
        SWAY_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}", SWAY_KAFKA__CONNECT_TIMEOUT_S=1
    )
    assert worker.start(SWAY).wait(60) == 1
    assert "kafka.bootstrap_servers" in worker.log_text()
    assert "Traceback" not in worker.log_text()


def test_missing_topics(refused: Refused, sway: Sway) -> None:
    line = refused()
    assert f"{sway.topics.prefix}.events" in line
    assert f"{sway.topics.prefix}.outcomes" in line
    sway.topics.create("events", partitions=2)
    assert f"do not exist: {sway.topics.prefix}.outcomes" in refused()


def test_different_partition_counts_of_the_inputs(refused: Refused, sway: Sway) -> None:
    sway.create_topics(partitions=4, outcomes=3)
    line = refused()
    assert f"{sway.topics.prefix}.events has 4" in line
    assert f"{sway.topics.prefix}.outcomes has 3" in line


def test_different_partition_counts_of_input_and_changelog(refused: Refused, sway: Sway) -> None:
    sway.create_topics(partitions=2)
    sway.topics.create("app-windows-changelog", partitions=3)
    line = refused(SWAY_APP_ID=sway.topics.name("app"))
    assert "has 3 partitions, its inputs have 2" in line
    assert "app_id" in line


def test_no_champion(refused: Refused, tmp_path: Path) -> None:
    line = refused(SWAY_MODEL__REGISTRY=tmp_path / "empty")
    assert "no champion" in line
    assert "model.registry" in line


def test_a_missing_version(refused: Refused) -> None:
    line = refused(SWAY_MODEL__VERSION="v9")
    assert "'v9'" in line
    assert "model.registry" in line


def test_an_altered_checkpoint(refused: Refused, registry: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(registry, broken)
    weights = broken / "versions" / "tiny" / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    line = refused(SWAY_MODEL__REGISTRY=broken)
    assert "model.safetensors has sha256" in line
    assert "model.registry" in line


def test_an_unwritable_state_folder(refused: Refused, sway: Sway, tmp_path: Path) -> None:
    sway.create_topics(partitions=1)
    (tmp_path / "file").touch()
    line = refused(SWAY_STATE_DIR=tmp_path / "file")
    assert "Cannot write to the state folder" in line
    assert "state_dir" in line


def test_inconsistent_settings(refused: Refused) -> None:
    line = refused(SWAY_WINDOW__MAX_BYTES=1000)
    assert "window.max_bytes=1000" in line
    assert "text.max_item_text_chars=512" in line
