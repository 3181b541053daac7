"""`sway doctor` with a real broker and a model on disk."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic
from typer.testing import CliRunner

from model.manifest import Manifest
from model.registry import ModelRegistry
from schemas.records import BehaviorEvent, Outcome
from schemas.wire import Codec
from sway.cli import app
from sway.embedded.ports import free_port
from tests.integration.conftest import Topics

NOW_MS = int(time.time() * 1000)
USERS = [f"u{number}" for number in range(30)]
CHECKS = [
    "settings",
    "broker",
    "topics",
    "partitioner of sway.events",
    "keys of sway.events",
    "partitioner of sway.outcomes",
    "keys of sway.outcomes",
    "state folder",
    "web port",
    "device",
    "model",
    "dtypes",
]


@pytest.fixture(autouse=True)
def settings(topics: Topics, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_base: Path) -> None:
    """Valid settings and topics for a worker."""
    registry = ModelRegistry(tmp_path / "registry")
    registry.promote(registry.publish(tiny_base, Manifest("v1", base="tiny", created_at_ms=0)))
    for name, value in {
        "KAFKA__BOOTSTRAP_SERVERS": topics.bootstrap_servers,
        "TOPICS__PREFIX": topics.prefix,
        "APP_ID": topics.prefix,
        "STATE_DIR": str(tmp_path / "state"),
        "MODEL__REGISTRY": str(tmp_path / "registry"),
        "MODEL__DTYPE": "fp32",
        "WEB__PORT": str(free_port()),
    }.items():
        monkeypatch.setenv(f"SWAY_{name}", value)
    created = CliRunner().invoke(app, ["topics", "create", "--partitions", "4"])
    assert created.exit_code == 0, created.output


def doctor(topics: Topics) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Return the exit code, and the findings by check, with the test's prefix replaced by "sway"."""
    result = CliRunner().invoke(app, ["doctor", "--json"])
    by_check: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(result.stdout)["findings"]:
        by_check.setdefault(finding["check"].replace(topics.prefix, "sway"), []).append(finding)
    return result.exit_code, by_check


def produce(topics: Topics, short: str, values: list[tuple[str, bytes]], **config: str) -> None:
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers, **config})
    for key, value in values:
        producer.produce(topics.name(short), value, key)
    assert producer.flush(30) == 0


def events() -> list[tuple[str, bytes]]:
    encode = Codec(BehaviorEvent).encode
    return [(user, encode(BehaviorEvent(f"e-{user}", user, "view", NOW_MS))) for user in USERS]


def test_a_correct_setup_passes_every_check(topics: Topics, tmp_path: Path) -> None:
    produce(topics, "events", events(), partitioner="murmur2_random")
    outcome = Codec(Outcome).encode(Outcome("e-u0", "u0", 1.0, NOW_MS))
    produce(topics, "outcomes", [("u0", outcome)], partitioner="murmur2_random")
    code, findings = doctor(topics)
    assert list(findings) == CHECKS
    not_ok = {check for check, found in findings.items() if {f["status"] for f in found} != {"ok"}}
    assert not_ok <= {"dtypes"}  # a busy machine may make another type look faster
    assert code == 0
    assert "all 30 sampled keys" in findings["partitioner of sway.events"][0]["found"]
    assert "v1, the champion of" in findings["model"][0]["found"]
    assert "fp32" in findings["dtypes"][0]["found"]
    assert not (tmp_path / "state").exists()
    groups = topics.admin.list_consumer_groups().result(30)
    assert "sway-doctor" not in {group.group_id for group in groups.valid}


def test_every_fault_fails_its_check_with_advice(topics: Topics, tmp_path: Path) -> None:
    produce(topics, "events", [*events(), ("u1", b"{}")])  # with librdkafka's default partitioner
    produce(topics, "outcomes", [(f'"{user}"', value) for user, value in _outcomes()])
    changelog = f"{topics.prefix}-windows-changelog"
    topics.admin.create_topics([NewTopic(changelog, 2, 1)])[changelog].result(30)
    file = next((tmp_path / "registry" / "versions" / "v1").glob("heads.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    code, findings = doctor(topics)
    assert code == 1
    (partitioner,) = findings["partitioner of sway.events"]
    assert partitioner["status"] == "FAIL"
    assert "they match librdkafka's default, CRC32" in partitioner["found"]
    assert "partitioner=murmur2_random" in partitioner["advice"]
    undecodable, keys = findings["keys of sway.events"]
    assert (undecodable["status"], keys["status"]) == ("warn", "ok")
    assert "1 of 31 sampled records cannot be decoded (bad_magic)" in undecodable["found"]
    assert findings["keys of sway.outcomes"][0]["status"] == "FAIL"
    messages = " ".join(finding["found"] for finding in findings["topics"])
    assert f"{changelog} has 2 partitions, but the inputs have 4" in messages
    assert f"{changelog} has cleanup.policy=delete" in messages
    assert "heads.safetensors has sha256" in findings["model"][0]["found"]
    assert findings["dtypes"][0]["found"] == "not checked: no model (see above)"
    assert findings["broker"][0]["status"] == "ok"


def _outcomes() -> list[tuple[str, bytes]]:
    encode = Codec(Outcome).encode
    return [(user, encode(Outcome(f"e-{user}", user, 1.0, NOW_MS))) for user in USERS]
