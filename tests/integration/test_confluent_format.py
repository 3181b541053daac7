"""Confluent's wire format with a real Schema Registry and confluent-kafka's own serializers.

One worker runs through the whole test: changes of a producer's schema need no restart.
"""

import copy
import json
import time
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext
from typer.testing import CliRunner

from schemas.contracts import current
from schemas.records import BehaviorEvent
from sway.cli import app
from sway.embedded import EmbeddedRegistry
from tests.integration.conftest import wait_for
from tests.integration.workers import Sway, Worker

NOW_MS = int(time.time() * 1000)
EVENTS_PER_SERVICE = 12


class Service:
    """A producer with confluent-kafka's serializer, which registers its schema under the topic's subject."""

    def __init__(self, sway: Sway, client: SchemaRegistryClient, name: str, schema: Any) -> None:
        self._sway = sway
        self._name = name
        self._fields = [field["name"] for field in schema["fields"]]
        self._serialize = AvroSerializer(client, json.dumps(schema))
        self._context = SerializationContext(sway.topics.name("events"), MessageField.VALUE)

    def values(self) -> list[tuple[str, bytes]]:
        """Return EVENTS_PER_SERVICE encoded events, each with its user."""
        return [(f"user-{number % 3}", self._value(number)) for number in range(EVENTS_PER_SERVICE)]

    def _value(self, number: int) -> bytes:
        event = {
            "event_id": f"{self._name}-{number}",
            "user_id": f"user-{number % 3}",
            "action": "watch",
            "occurred_at": NOW_MS + number,
            "item_id": "i1",
            "item_text": "alien",
            "item_title": "alien",
            "campaign": "spring",
        }
        value = self._serialize({k: v for k, v in event.items() if k in self._fields}, self._context)
        assert isinstance(value, bytes)
        return value


def newer(schema: Any, added: str) -> Any:
    """Return a compatible schema: one field added, one with a default removed, one renamed with an alias."""
    changed = copy.deepcopy(schema)
    changed["fields"] = [field for field in changed["fields"] if field["name"] != "domain"]
    text = next(field for field in changed["fields"] if field["name"] == "item_text")
    text.update(name="item_title", aliases=["item_text"])
    changed["fields"].append({"name": added, "type": "string", "default": ""})
    return changed


def broken(schema: Any) -> Any:
    """Return an incompatible schema: it adds a field without a default."""
    return {**schema, "fields": [*schema["fields"], {"name": "needed", "type": "string"}]}


@pytest.fixture
def client(sway: Sway, schema_registry: EmbeddedRegistry, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the registry, after `sway schemas register` for this test's topics."""
    sway.environment["SWAY_WIRE__REGISTRY_URL"] = schema_registry.url
    sway.environment["SWAY_WIRE__FORMAT"] = "confluent"
    for name in ("SWAY_WIRE__REGISTRY_URL", "SWAY_TOPICS__PREFIX"):
        monkeypatch.setenv(name, sway.environment[name])
    registered = CliRunner().invoke(app, ["schemas", "register"])
    assert registered.exit_code == 0, registered.output
    # A foreign program's client, which by default retries after a timeout.
    with SchemaRegistryClient({"url": schema_registry.url, "timeout": 30}) as made:
        yield made


def produce(sway: Sway, values: list[tuple[str, bytes]]) -> None:
    for user, value in values:
        sway.produce(value, key=user)
    sway.flush()


def read(sway: Sway, client: SchemaRegistryClient, short: str) -> list[dict[str, Any]]:
    """Return the committed records of a topic as a foreign reader decodes them."""
    deserialize = AvroDeserializer(client)
    context = SerializationContext(sway.topics.name(short), MessageField.VALUE)
    return [deserialize(message.value(), context) for message in sway.read(short)]


def scored(sway: Sway, client: SchemaRegistryClient) -> dict[str, int]:
    """Return the number of scores by service; fails on a duplicate."""
    ids = [score["event_id"] for score in read(sway, client, "scores")]
    assert len(set(ids)) == len(ids)
    names = [event_id.rsplit("-", 1)[0] for event_id in ids]
    return {name: names.count(name) for name in names}


def is_waiting(worker: Worker) -> bool:
    return worker.page("/readyz") == (503, "waiting for the Schema Registry\n")


@pytest.mark.faults
def test_a_worker_follows_registry_schemas_and_waits_during_an_outage(
    sway: Sway, client: SchemaRegistryClient, schema_registry: EmbeddedRegistry
) -> None:
    worker = sway.create_topics().worker().start()
    schema, subject = current(BehaviorEvent), f"{sway.topics.name('events')}-value"
    first = Service(sway, client, "first", schema)
    worker.wait_until_ready()
    produce(sway, first.values())
    sway.wait_for_answers(EVENTS_PER_SERVICE)
    (score,) = [s for s in read(sway, client, "scores") if s["event_id"] == "first-0"]
    assert (score["user_id"], score["item_id"]) == ("user-0", "i1")
    assert score["source"]["topic"] == sway.topics.name("events")
    assert 0 <= score["influence"] <= 1

    # A producer with a newer schema, in the middle of the stream.
    newer_schema = newer(schema, "campaign")
    produce(sway, Service(sway, client, "newer", newer_schema).values())
    assert client.get_versions(subject) == [1, 2]
    sway.wait_for_answers(2 * EVENTS_PER_SERVICE)
    assert scored(sway, client) == {"first": EVENTS_PER_SERVICE, "newer": EVENTS_PER_SERVICE}

    # A schema that would break readers is refused.
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema(subject, Schema(json.dumps(broken(newer_schema)), "AVRO"))
    assert refused.value.http_status_code == 409
    assert client.get_versions(subject) == [1, 2]

    # A producer with another registry, whose ids are unknown here.
    produce(sway, [("user-0", b"\x00\x7f\xff\xff\xff" + first.values()[0][1][5:])])
    sway.wait_for_answers(2 * EVENTS_PER_SERVICE + 1)
    (letter,) = read(sway, client, "dead-letters")
    assert letter["reason"] == "unknown_schema"

    # The registry is down: events with known ids are processed, one with a new id waits.
    known = Service(sway, client, "known", schema).values()
    last = Service(sway, client, "last", newer(schema, "season")).values()
    schema_registry.kill()
    try:
        produce(sway, known)
        sway.wait_for_answers(3 * EVENTS_PER_SERVICE + 1)
        produce(sway, last)
        wait_for(lambda: is_waiting(worker), "a worker that reports what it waits for")
        assert worker.page("/livez") == (200, "ok\n")
        assert len(list(sway.read("scores"))) == 3 * EVENTS_PER_SERVICE
    finally:
        schema_registry.start()
    sway.wait_for_answers(4 * EVENTS_PER_SERVICE + 1)
    assert scored(sway, client) == {
        "first": EVENTS_PER_SERVICE,
        "newer": EVENTS_PER_SERVICE,
        "known": EVENTS_PER_SERVICE,
        "last": EVENTS_PER_SERVICE,
    }
    assert len(read(sway, client, "dead-letters")) == 1
    worker.wait_until_ready()
    assert worker.terminate() == 0
    assert "Traceback" not in worker.log_text()
