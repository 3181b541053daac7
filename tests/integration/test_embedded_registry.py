"""The embedded Schema Registry: starts, Confluent's API, crashes and clean-up."""

import socket
from pathlib import Path

import psutil
import pytest

from schemas.errors import UnknownSchemaError
from schemas.registry import RegistryResolver, connect
from sway.embedded import EmbeddedError, EmbeddedRegistry
from sway.embedded.errors import RegistryFolderInUseError, RegistryPortTakenError, RegistryStartError


def port_of(registry: EmbeddedRegistry) -> int:
    return int(registry.url.split("/")[2].rsplit(":", 1)[1])


def test_only_loopback_listens_and_the_log_is_written(schema_registry: EmbeddedRegistry) -> None:
    sockets = psutil.Process(schema_registry.pid).net_connections()
    listening = [c.laddr for c in sockets if c.status == "LISTEN"]
    assert len(listening) == 2
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert port_of(schema_registry) in {address.port for address in listening}
    assert "apicurio-registry-app" in schema_registry.log_path.read_text("utf-8")


def test_an_unknown_id_is_not_reported_as_an_outage(
    schema_registry: EmbeddedRegistry,
) -> None:
    with connect(schema_registry.url) as client, pytest.raises(UnknownSchemaError):
        RegistryResolver(client).by_id(4_000_000)


def test_a_killed_registry_keeps_its_address_and_folder(
    schema_registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    """test_confluent_format.py checks that schemas and ids survive a kill."""
    # The port is taken, so the registry chooses another.
    registry = EmbeddedRegistry(tmp_path, port=port_of(schema_registry)).start()
    assert registry.url != schema_registry.url
    assert registry.log_path.parent == tmp_path
    with pytest.raises(RegistryFolderInUseError, match=f"another embedded Schema Registry uses {tmp_path}"):
        EmbeddedRegistry(tmp_path).start()
    assert registry.running
    assert any((tmp_path / "tmp").iterdir())  # the refused start did not remove the first one's files
    pid = registry.pid
    registry.kill()
    assert not registry.running
    assert not psutil.pid_exists(pid)
    taken = socket.create_server(("127.0.0.1", port_of(registry)))
    with (
        taken,
        pytest.raises(
            RegistryPortTakenError,
            match="cannot restart the embedded Schema Registry: another process listens",
        ),
    ):
        registry.start()
    registry.stop()
    assert (tmp_path / "schemas.mv.db").exists()
    with pytest.raises(EmbeddedError, match="call start"):
        _ = registry.url


def test_a_failed_start_of_a_registry_reports_the_cause() -> None:
    starved = EmbeddedRegistry(heap_mb=2)
    with pytest.raises(RegistryStartError, match="heap"):
        starved.start()
    assert not starved.running
    with pytest.raises(EmbeddedError, match="call start"):
        _ = starved.pid


def test_a_damaged_program_names_the_folder_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sway.embedded.registry_runtime.unpacked", lambda *_, **__: tmp_path)
    with pytest.raises(RegistryStartError, match=f"Remove {tmp_path} to download it again"):
        EmbeddedRegistry().start()
