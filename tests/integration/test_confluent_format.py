"""Confluent's wire format against a real Schema Registry and confluent-kafka's own serializers.

One worker lives through it all: what a service changes needs no restart.
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
EACH = 12  # events of a service


class Service:
    """Somebody else's producer: confluent-kafka's serializer, which registers its schema under the topic's subject."""

    def __init__(self, sway: Sway, client: SchemaRegistryClient, name: str, schema: Any) -> None:
        self._sway = sway
        self._name = name
        self._fields = [field["name"] for field in schema["fields"]]
        self._serialize = AvroSerializer(client, json.dumps(schema))
        self._context = SerializationContext(sway.topics.name("events"), MessageField.VALUE)

    def values(self) -> list[tuple[str, bytes]]:
        """EACH events as user and value, of which none is produced yet."""
        return [(f"user-{number % 3}", self._value(number)) for number in range(EACH)]

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
    """A field added with a default, one removed that has a default, one renamed with an alias."""
    changed = copy.deepcopy(schema)
    changed["fields"] = [field for field in changed["fields"] if field["name"] != "domain"]
    text = next(field for field in changed["fields"] if field["name"] == "item_text")
    text.update(name="item_title", aliases=["item_text"])
    changed["fields"].append({"name": added, "type": "string", "default": ""})
    return changed


def broken(schema: Any) -> Any:
    """A field without a default that older values do not have."""
    return {**schema, "fields": [*schema["fields"], {"name": "needed", "type": "string"}]}


@pytest.fixture
def client(sway: Sway, schema_registry: EmbeddedRegistry, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the registry, in which the schemas of this test's topics are."""
    sway.environment["SWAY_WIRE__REGISTRY_URL"] = schema_registry.url
    sway.environment["SWAY_WIRE__FORMAT"] = "confluent"
    for name in ("SWAY_WIRE__REGISTRY_URL", "SWAY_TOPICS__PREFIX"):
        monkeypatch.setenv(name, sway.environment[name])
    registered = CliRunner().invoke(app, ["schemas", "register"])
    assert registered.exit_code == 0, registered.output
    # a foreign program's client: it asks again after an answer that did not come, as its defaults say
    with SchemaRegistryClient({"url": schema_registry.url, "timeout": 30}) as made:
        yield made


def produce(sway: Sway, values: list[tuple[str, bytes]]) -> None:
    for user, value in values:
        sway.produce(value, key=user)
    sway.flush()


def read(sway: Sway, client: SchemaRegistryClient, short: str) -> list[dict[str, Any]]:
    """What a foreign reader sees of a topic now."""
    deserialize = AvroDeserializer(client)
    context = SerializationContext(sway.topics.name(short), MessageField.VALUE)
    return [deserialize(message.value(), context) for message in sway.read(short)]


def scored(sway: Sway, client: SchemaRegistryClient) -> dict[str, int]:
    """How many scores each service's events have, each once."""
    ids = [score["event_id"] for score in read(sway, client, "scores")]
    assert len(set(ids)) == len(ids)
    names = [event_id.rsplit("-", 1)[0] for event_id in ids]
    return {name: names.count(name) for name in names}


def is_waiting(worker: Worker) -> bool:
    return worker.page("/readyz") == (503, "waiting for the Schema Registry\n")


@pytest.mark.faults
def test_a_worker_follows_the_schemas_of_a_real_registry_and_waits_while_it_is_away(
    sway: Sway, client: SchemaRegistryClient, schema_registry: EmbeddedRegistry
) -> None:
    worker = sway.create_topics().worker().start()
    schema, subject = current(BehaviorEvent), f"{sway.topics.name('events')}-value"
    first = Service(sway, client, "first", schema)
    worker.wait_until_ready()
    produce(sway, first.values())
    sway.wait_for_answers(EACH)
    (score,) = [s for s in read(sway, client, "scores") if s["event_id"] == "first-0"]
    assert (score["user_id"], score["item_id"]) == ("user-0", "i1")
    assert score["source"]["topic"] == sway.topics.name("events")
    assert 0 <= score["influence"] <= 1

    # A newer service, in the middle of the stream.
    newer_schema = newer(schema, "campaign")
    produce(sway, Service(sway, client, "newer", newer_schema).values())
    assert client.get_versions(subject) == [1, 2]
    sway.wait_for_answers(2 * EACH)
    assert scored(sway, client) == {"first": EACH, "newer": EACH}

    # One that would break the readers.
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema(subject, Schema(json.dumps(broken(newer_schema)), "AVRO"))
    assert refused.value.http_status_code == 409
    assert client.get_versions(subject) == [1, 2]

    # One that uses a registry of its own.
    produce(sway, [("user-0", b"\x00\x7f\xff\xff\xff" + first.values()[0][1][5:])])
    sway.wait_for_answers(2 * EACH + 1)
    (letter,) = read(sway, client, "dead-letters")
    assert letter["reason"] == "unknown_schema"

    # The registry is away: known ids go on, a new one waits.
    known = Service(sway, client, "known", schema).values()
    last = Service(sway, client, "last", newer(schema, "season")).values()
    schema_registry.kill()
    try:
        produce(sway, known)
        sway.wait_for_answers(3 * EACH + 1)
        produce(sway, last)
        wait_for(lambda: is_waiting(worker), "a worker that says what it waits for")
        assert worker.page("/livez") == (200, "ok\n")
        assert len(list(sway.read("scores"))) == 3 * EACH
    finally:
        schema_registry.start()
    sway.wait_for_answers(4 * EACH + 1)
    assert scored(sway, client) == {"first": EACH, "newer": EACH, "known": EACH, "last": EACH}
    assert len(read(sway, client, "dead-letters")) == 1
    worker.wait_until_ready()
    assert worker.terminate() == 0
    assert "Traceback" not in worker.said()
