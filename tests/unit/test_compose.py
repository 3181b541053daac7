"""Checks of docker-compose.yml and the Dockerfile that need no Docker engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
import yaml  # type: ignore[import-untyped]

from schemas.records import BehaviorEvent
from stream.settings import Settings
from sway.cli import app
from sway.embedded.registry_runtime import API_PATH, REGISTRY_VERSION
from sway.embedded.runtime import KAFKA_VERSION
from sway.files.opening import open_rows
from sway.load.rows import RowReader
from sway.settings_tree import unknown_variables

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SWAY_SERVICES = ["schemas", "topics", "worker", "trainer", "feeder"]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def image_environment() -> dict[str, str]:
    """Return the SWAY_ variables that the image sets."""
    return dict(re.findall(r"\b(SWAY_[A-Z_]+)=(\S+)", DOCKERFILE))


def test_the_compose_file_has_the_expected_services() -> None:
    assert list(SERVICES) == ["kafka", "registry", *SWAY_SERVICES]
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert SERVICES["kafka"]["environment"]["KAFKA_PROCESS_ROLES"] == "broker,controller"


@pytest.mark.parametrize("service", SWAY_SERVICES)
def test_every_variable_is_a_valid_setting(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**image_environment(), **SERVICES[service]["environment"]}
    assert unknown_variables(environment) == {}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    settings = Settings()
    assert {settings.web.host, settings.trainer.web_host} == {"0.0.0.0"}  # noqa: S104 - inside a container
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INSIDE://{settings.kafka.bootstrap_servers}" in listeners.split(",")


@pytest.mark.parametrize("service", SWAY_SERVICES)
def test_every_command_exists_in_the_cli(service: str) -> None:
    command: Any = typer.main.get_command(app)
    arguments = list(SERVICES[service]["command"])
    while hasattr(command, "get_command"):
        name = arguments.pop(0)
        command = command.get_command(typer.Context(command), name)
        assert command is not None, name
    command.make_context(service, arguments)  # raises on unknown options


def test_the_registry_is_the_tested_version_and_uses_kafka_storage() -> None:
    registry = SERVICES["registry"]
    assert registry["image"] == f"apicurio/apicurio-registry:{REGISTRY_VERSION}"
    inside = SERVICES["topics"]["environment"]["SWAY_KAFKA__BOOTSTRAP_SERVERS"]
    assert registry["environment"] == {
        "APICURIO_STORAGE_KIND": "kafkasql",
        "APICURIO_KAFKASQL_BOOTSTRAP_SERVERS": inside,
    }
    (published,) = registry["ports"]
    host, _, port = published.rpartition(":")
    assert host.startswith("127.0.0.1:")
    url = SERVICES["worker"]["environment"]["SWAY_WIRE__REGISTRY_URL"]
    assert url == f"http://registry:{port}{API_PATH}"


def test_services_start_after_their_dependencies() -> None:
    assert SERVICES["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert SERVICES["registry"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert SERVICES["schemas"]["depends_on"] == {"registry": {"condition": "service_started"}}
    for service in ("worker", "trainer", "feeder"):
        needed = SERVICES[service]["depends_on"]
        done = {"condition": "service_completed_successfully"}
        assert needed == {"topics": done, "schemas": done}


def test_the_trainers_health_check_uses_its_own_port() -> None:
    trainer = SERVICES["trainer"]
    port = image_environment()["SWAY_TRAINER__WEB_PORT"]
    assert trainer["ports"] == [f"127.0.0.1:{port}:{port}"]
    program, flag, code = trainer["healthcheck"]["test"][1:]
    assert (program, flag) == ("python", "-c")
    compile(code, "healthcheck", "exec")
    assert "SWAY_TRAINER__WEB_PORT" in code
    assert "/livez" in code
    assert re.search(rf"^EXPOSE .*\b{port}\b", DOCKERFILE, re.MULTILINE)


def test_mounted_paths_match_the_settings() -> None:
    assert any(":/registry:ro" in volume for volume in SERVICES["worker"]["volumes"])
    assert image_environment()["SWAY_MODEL__REGISTRY"] == "/registry"
    local, inside = SERVICES["feeder"]["volumes"][0].split(":")[:2]
    file = next(argument for argument in SERVICES["feeder"]["command"] if argument.startswith(inside))
    assert (ROOT / local / Path(file).relative_to(inside)).is_file()


def test_the_feeders_file_contains_events() -> None:
    rows = open_rows(ROOT / "examples" / "events.csv")
    reader = RowReader(BehaviorEvent)
    reader.check_columns(rows.columns)
    events = [reader.read(row.values) for row in rows.rows()]
    assert len({event.event_id for event in events}) == len(events) > 10


def test_the_image_is_pinned_unprivileged_and_has_a_health_check() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert set(stages) == {"python:3.11-slim"}
    assert "--require-hashes requirements.lock" in DOCKERFILE
    final = DOCKERFILE.rpartition("FROM ")[2]
    assert "\nUSER sway\n" in final
    assert re.search(r"HEALTHCHECK .*/livez", final)
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    assert copied == {"schemas", "clients", "model", "stream", "trainer", "sway"}
