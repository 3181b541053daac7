"""Registering schemas in a Schema Registry and checking them, with fake registries."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.schema_registry.error import SchemaRegistryError
from typer.testing import CliRunner

from schemas.contracts import current_text
from schemas.errors import RegistryUnavailable
from schemas.records import BehaviorEvent
from schemas.registration import KEEPS_BACKWARD, check, register
from stream.settings import TopicSettings
from sway.cli import app
from sway.schema_subjects import subjects
from sway.up import _print_schemas

SUBJECT = "sway.events-value"


class FakeRegistry:
    """Registry that answers like Confluent's: a subject without its own level is error 40408."""

    def __init__(self, *, refuses: str | None = None, level: str | None = None) -> None:
        self.refuses = refuses
        self.levels = {} if level is None else {SUBJECT: level}
        self.versions: dict[str, list[str]] = {}
        self.changes: list[tuple[str, str]] = []

    def register_schema(self, subject_name: str, schema: Any) -> int:
        if self.refuses is not None:
            raise SchemaRegistryError(409, 409, self.refuses)
        versions = self.versions.setdefault(subject_name, [])
        if schema.schema_str not in versions:
            versions.append(schema.schema_str)
            self.changes.append(("register", subject_name))
        return 7

    def lookup_schema(self, subject_name: str, schema: Any) -> Any:
        if subject_name not in self.versions:
            raise SchemaRegistryError(404, 40401, f"Subject '{subject_name}' not found.")
        if schema.schema_str not in self.versions[subject_name]:
            raise SchemaRegistryError(404, 40403, "Schema not found")
        return SimpleNamespace(schema_id=7, version=1 + self.versions[subject_name].index(schema.schema_str))

    def test_compatibility(self, subject_name: str, schema: Any) -> bool:
        if subject_name not in self.versions:
            raise SchemaRegistryError(404, 40401, f"Subject '{subject_name}' not found.")
        return self.refuses is None

    def get_compatibility(self, subject_name: str | None = None) -> str:
        if subject_name is None:
            return "NONE"
        if subject_name not in self.levels:
            raise SchemaRegistryError(404, 40408, "Subject does not have a compatibility level")
        return self.levels[subject_name]

    def set_compatibility(self, subject_name: str, level: str) -> None:
        self.levels[subject_name] = level
        self.changes.append((level, subject_name))


class UnavailableRegistry(FakeRegistry):
    """Registry that refuses connections."""

    def get_compatibility(self, subject_name: str | None = None) -> str:
        raise ConnectionRefusedError


def test_registering_sets_the_compatibility_level_first() -> None:
    registry = FakeRegistry()
    first = register(registry, SUBJECT, BehaviorEvent)
    assert registry.changes == [("BACKWARD", SUBJECT), ("register", SUBJECT)]
    assert registry.versions == {SUBJECT: [current_text(BehaviorEvent)]}
    assert (first.schema_id, first.version, first.level, first.problem) == (7, 1, "BACKWARD", None)
    assert register(registry, SUBJECT, BehaviorEvent) == first == check(registry, SUBJECT, BehaviorEvent)
    assert len(registry.changes) == 2


@pytest.mark.parametrize("level", [*sorted(KEEPS_BACKWARD), "NONE", "FORWARD"])
def test_a_stricter_level_is_kept_and_a_weaker_one_raised(level: str) -> None:
    registry = FakeRegistry(level=level)
    kept = level if level in KEEPS_BACKWARD else "BACKWARD"
    assert register(registry, SUBJECT, BehaviorEvent).level == kept == registry.levels[SUBJECT]


def test_a_refusal_shows_the_message_of_the_registry() -> None:
    registry = FakeRegistry(refuses="reader field zz has no default")
    standing = register(registry, SUBJECT, BehaviorEvent)
    assert standing.schema_id is None
    assert standing.problem is not None
    assert standing.problem.startswith(
        "the registry refuses it: reader field zz has no default. Change the schema"
    )


def test_checking_reports_a_missing_schema_and_changes_nothing() -> None:
    registry = FakeRegistry()
    standing = check(registry, SUBJECT, BehaviorEvent)
    assert standing.problem == "not registered: run `sway schemas register`"
    registry.versions[SUBJECT] = ["older"]
    assert check(registry, SUBJECT, BehaviorEvent) == standing
    registry.refuses = "no"
    refused = check(registry, SUBJECT, BehaviorEvent).problem
    assert refused is not None
    assert refused.startswith("not registered, and the registry will refuse it")
    assert registry.changes == []


def test_a_compatibility_level_of_none_is_a_problem() -> None:
    registry = FakeRegistry()
    register(registry, SUBJECT, BehaviorEvent)
    # The default of the registry applies, which is NONE.
    del registry.levels[SUBJECT]
    standing = check(registry, SUBJECT, BehaviorEvent)
    assert (standing.version, standing.level) == (1, "NONE")
    assert standing.problem is not None
    assert "run `sway schemas register` to set BACKWARD" in standing.problem


@pytest.mark.parametrize("ask", [register, check])
def test_an_unavailable_registry_raises_an_error(ask: Any) -> None:
    with pytest.raises(RegistryUnavailable, match=r"compatibility of sway\.events-value"):
        ask(UnavailableRegistry(), SUBJECT, BehaviorEvent)


def test_every_topic_has_a_subject() -> None:
    topics = TopicSettings(prefix="shop", scores="points")
    found = subjects(topics)
    assert [subject.removesuffix("-value") for subject in found] == list(topics.names().values())
    assert found["shop.events-value"] is BehaviorEvent
    assert found["points-value"] is found["shop.scores.shadow-value"]


@pytest.mark.parametrize("command", ["register", "check"])
def test_without_a_registry_the_command_names_the_missing_setting(command: str) -> None:
    result = CliRunner().invoke(app, ["schemas", command])
    assert result.exit_code == 1
    assert result.stderr.startswith("sway: no Schema Registry is set: set SWAY_WIRE__REGISTRY_URL")


def test_an_unreachable_registry_is_named_without_its_password() -> None:
    environment = {"SWAY_WIRE__REGISTRY_URL": "http://user:word@127.0.0.1:9/api"}
    result = CliRunner().invoke(app, ["schemas", "check"], env=environment)
    assert result.exit_code == 1
    assert result.stderr.startswith("sway: The Schema Registry did not answer")
    assert (
        "The registry is http://127.0.0.1:9/api: check SWAY_WIRE__REGISTRY_URL (wire.registry_url)."
        in result.stderr
    )
    assert "word" not in result.stderr


class StartingRegistry(BaseHTTPRequestHandler):
    """Registry that answers 503 once and then accepts everything."""

    requests = 0

    def do_GET(self) -> None:
        StartingRegistry.requests += 1
        self._answer({"compatibilityLevel": "BACKWARD"}, 503 if StartingRegistry.requests == 1 else 200)

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        schema = json.loads(self.rfile.read(size))["schema"]
        self._answer({"id": 7, "subject": "s", "version": 1, "schema": schema}, 200)

    def _answer(self, body: dict[str, Any], status: int) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


def test_registering_can_wait_for_a_starting_registry() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), StartingRegistry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {"SWAY_WIRE__REGISTRY_URL": f"http://127.0.0.1:{server.server_port}"}
        result = CliRunner().invoke(app, ["schemas", "register", "--wait-s", "60"], env=environment)
        server.shutdown()
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("all 10 schemas are registered\n")
    assert StartingRegistry.requests == 11


def test_up_names_schemas_that_the_registry_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    fine = register(FakeRegistry(), SUBJECT, BehaviorEvent)
    _print_schemas([fine, register(FakeRegistry(refuses="no"), SUBJECT, BehaviorEvent)])
    output = capsys.readouterr().err
    assert output.startswith(f"some schemas are not registered:\n{SUBJECT}: the registry refuses it: no.")
    assert "SWAY_WIRE__FORMAT" not in output
