"""`sway schemas` with a real Schema Registry, and separate subjects for each test."""

import json
import uuid

import pytest
from confluent_kafka.schema_registry import Schema
from typer.testing import CliRunner, Result

from schemas.contracts import current, current_text
from schemas.records import BehaviorEvent
from schemas.registry import connect
from sway.cli import app
from sway.embedded import EmbeddedRegistry


@pytest.fixture
def prefix(schema_registry: EmbeddedRegistry, monkeypatch: pytest.MonkeyPatch) -> str:
    """The prefix of topics unique to this test; the settings name it and the registry."""
    name = f"commands-{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("SWAY_WIRE__REGISTRY_URL", schema_registry.url)
    monkeypatch.setenv("SWAY_TOPICS__PREFIX", name)
    return name


def sway_schemas(command: str) -> Result:
    return CliRunner().invoke(app, ["schemas", command])


def test_missing_schemas_are_reported_and_registered_once(
    schema_registry: EmbeddedRegistry, prefix: str
) -> None:
    missing = sway_schemas("check")
    assert missing.exit_code == 1
    assert missing.stderr.count(": not registered: run `sway schemas register`\n") == 10
    registered = sway_schemas("register")
    assert registered.exit_code == 0, registered.output
    with connect(schema_registry.url) as client:
        found = client.lookup_schema(f"{prefix}.events-value", Schema(current_text(BehaviorEvent), "AVRO"))
        assert client.get_compatibility(f"{prefix}.events-value") == "BACKWARD"
        mine = [subject for subject in client.get_subjects() if subject.startswith(prefix)]
        versions = [client.get_versions(subject) for subject in mine]
    assert found.schema_id is not None
    assert versions == [[1]] * 10
    assert sway_schemas("register").stdout == registered.stdout
    checked = sway_schemas("check")
    assert checked.exit_code == 0
    assert checked.stdout == registered.stdout.replace("are registered", "are in order")


def test_an_incompatible_schema_does_not_block_the_others(
    schema_registry: EmbeddedRegistry, prefix: str
) -> None:
    subject = f"{prefix}.events-value"
    schema = current(BehaviorEvent)
    for field in schema["fields"]:
        if field["name"] == "occurred_at":
            field["type"] = "string"  # our schema, with a long, cannot read it
    with connect(schema_registry.url) as client:
        client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
    sway_schemas("register")
    checked, registered = sway_schemas("check"), sway_schemas("register")
    assert (checked.exit_code, registered.exit_code) == (1, 1)
    assert checked.stderr.count("\n") == registered.stderr.count("\n") == 1
    assert checked.stderr.startswith(f"{subject}: not registered, and the registry will refuse it")
    assert registered.stderr.startswith(f"{subject}: the registry refuses it: ")
    assert "/fields/" in registered.stderr  # the position in Apicurio's message
    assert f"PROBLEM  {subject} " in registered.stdout
    assert registered.stdout.count("\nok ") == 9
