"""The Schema Registry as a resolver: an unknown schema is a decode error, an unavailable registry is retried."""

import json
import zlib
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema as RegistrySchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.contracts import current, current_text
from schemas.convert import to_mapping
from schemas.errors import (
    ContractError,
    DecodeError,
    IncompatibleSchemaError,
    RegistryUnavailable,
    UnknownSchemaError,
)
from schemas.records import BehaviorEvent
from schemas.registry import RegistryResolver, connect
from schemas.wire import Codec
from tests.golden.samples import EVENT

NOT_FOUND = SchemaRegistryError(404, 40403, "Schema 7 not found")


class FakeClient:
    """Registry client that returns its answers in order, or raises those that are exceptions."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.lookups: list[Any] = []

    def get_schema(self, schema_id: int) -> Any:
        return self._next(schema_id)

    def lookup_schema(self, subject_name: str, schema: Any) -> Any:
        return self._next((subject_name, schema.schema_str, schema.schema_type))

    def _next(self, question: Any) -> Any:
        self.lookups.append(question)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def answer(text: str | None, schema_type: str | None = "AVRO", references: Any = None) -> Any:
    return SimpleNamespace(schema_str=text, schema_type=schema_type, references=references)


KNOWN = answer(current_text(BehaviorEvent))


def codec(client: FakeClient, clock: FakeClock | None = None) -> Codec[BehaviorEvent]:
    resolver = RegistryResolver(client, clock=clock or FakeClock())
    return Codec(BehaviorEvent, resolver=resolver, write="confluent", subject="sway.events-value")


VALUE = b"\x00\x00\x00\x00\x07" + Codec(BehaviorEvent).encode(EVENT)[10:]


def test_both_formats_are_read_with_one_lookup_per_id() -> None:
    client = FakeClient(KNOWN)
    single = Codec(BehaviorEvent).encode(EVENT)
    assert codec(client).decode_batch([VALUE, single, VALUE, VALUE]) == [EVENT] * 4
    assert client.lookups == [7]


def test_writing_looks_the_id_up_once() -> None:
    client = FakeClient(SimpleNamespace(schema_id=0x01020304))
    confluent = codec(client)
    values = [confluent.encode(EVENT), *confluent.encode_batch([EVENT])]
    assert {value[:5] for value in values} == {b"\x00\x01\x02\x03\x04"}
    assert client.lookups == [("sway.events-value", current_text(BehaviorEvent), "AVRO")]


@pytest.mark.parametrize(
    "failure",
    [
        SchemaRegistryError(500, 50001, "Error in the backend data store"),
        SchemaRegistryError(503, -1, "Unknown Schema Registry Error"),
        SchemaRegistryError(401, 401, "Unauthorized"),
        SchemaRegistryError(429, 429, "Too many requests"),
        SchemaRegistryError(404, -1, "Unknown Schema Registry Error: <html>"),
        SchemaRegistryError(404, 404, "HTTP 404 Not Found"),
        SchemaRegistryError(404, None, "no code"),  # type: ignore[arg-type]
        TimeoutError("timed out"),
        ConnectionRefusedError(),
        ValueError("not JSON"),
    ],
    ids=str,
)
def test_a_failed_lookup_is_retried_without_losing_records(failure: Exception) -> None:
    confluent = codec(FakeClient(failure, failure, KNOWN))
    for _ in range(2):
        with pytest.raises(RegistryUnavailable):
            confluent.decode_batch([VALUE, b"junk"])
    good, bad = confluent.decode_batch([VALUE, b"junk"])
    assert good == EVENT
    assert isinstance(bad, DecodeError)


def test_refused_credentials_differ_from_an_unavailable_registry() -> None:
    confluent = codec(FakeClient(SchemaRegistryError(401, 401, "Unauthorized"), TimeoutError()))
    with pytest.raises(RegistryUnavailable, match="Check the user and the password"):
        confluent.decode(VALUE)
    with pytest.raises(RegistryUnavailable, match="Retry later"):
        confluent.decode(VALUE)


def test_registry_unavailable_is_not_a_decode_error() -> None:
    assert not issubclass(RegistryUnavailable, DecodeError)


def test_an_unknown_schema_is_looked_up_again_later() -> None:
    clock = FakeClock()
    client = FakeClient(NOT_FOUND, NOT_FOUND, KNOWN)
    confluent = codec(client, clock)
    results = confluent.decode_batch([VALUE] * 3)
    assert [type(result) for result in results] == [UnknownSchemaError] * 3
    assert client.lookups == [7]
    clock.now_s += 31
    assert isinstance(confluent.decode_batch([VALUE])[0], UnknownSchemaError)
    assert client.lookups == [7, 7]
    clock.now_s += 31
    assert confluent.decode(VALUE) == EVENT


class ClientWithIds(FakeClient):
    """Registry client that knows a set of ids, to which a test can add."""

    def __init__(self, *known: int) -> None:
        super().__init__()
        self.known = set(known)

    def get_schema(self, schema_id: int) -> Any:
        self.lookups.append(schema_id)
        if schema_id not in self.known:
            raise NOT_FOUND
        return KNOWN


def is_known(resolver: RegistryResolver, schema_id: int) -> bool:
    """Return whether the resolver finds the id."""
    try:
        resolver.by_id(schema_id)
    except UnknownSchemaError:
        return False
    return True


def resolve_random_ids(
    resolver: RegistryResolver, clock: FakeClock, seconds: int, ids_per_s: int = 100
) -> None:
    """Look up random unknown ids at the given rate, and advance the clock."""
    for number in range(seconds * ids_per_s):
        assert not is_known(resolver, 10_000_000 + zlib.crc32(b"%d" % number) // 2)
        clock.now_s += 1 / ids_per_s


def test_random_ids_cost_two_requests_per_second() -> None:
    clock, client = FakeClock(), ClientWithIds()
    resolve_random_ids(RegistryResolver(client, clock=clock), clock, seconds=100)
    assert 200 <= len(client.lookups) <= 250


def test_random_ids_do_not_fill_the_memory() -> None:
    clock = FakeClock()
    resolver = RegistryResolver(ClientWithIds(), clock=clock)
    resolve_random_ids(resolver, clock, seconds=200)
    # Two lookups per second, each remembered for thirty seconds.
    assert 0 < len(resolver._unknown_ids) <= 61


def test_a_new_schema_is_found_at_once_among_random_ids() -> None:
    clock, client = FakeClock(), ClientWithIds(100_001)
    resolver = RegistryResolver(client, clock=clock)
    assert is_known(resolver, 100_001)
    resolve_random_ids(resolver, clock, seconds=60)
    client.known.add(100_017)
    assert is_known(resolver, 100_017)


def test_a_newly_registered_id_is_found_despite_random_ids() -> None:
    clock, client = FakeClock(), ClientWithIds()
    resolver = RegistryResolver(client, clock=clock)
    assert not is_known(resolver, 7)
    client.known.add(7)
    resolve_random_ids(resolver, clock, seconds=29)
    assert not is_known(resolver, 7)
    resolve_random_ids(resolver, clock, seconds=2)
    assert is_known(resolver, 7)


def test_a_skipped_lookup_is_named_in_the_error() -> None:
    resolver = RegistryResolver(ClientWithIds(), clock=FakeClock())
    for schema_id in range(1_000_000, 1_000_050):
        assert not is_known(resolver, schema_id)
    with pytest.raises(
        UnknownSchemaError, match="not asked for the schema 1000050: 50 other ids were unknown"
    ):
        resolver.by_id(1_000_050)


@pytest.mark.parametrize(
    "refused",
    [
        answer('syntax = "proto3";', "PROTOBUF"),
        answer("{}", "JSON"),
        answer(current_text(BehaviorEvent), references=[SimpleNamespace(name="Other")]),
        answer("not json"),
        answer(None),
        answer("[" * 100_000),
        answer('"' + "x" * 2_000_000 + '"'),
        answer(json.dumps({**current(BehaviorEvent), "fields": 3})),
    ],
)
def test_an_unusable_schema_is_incompatible_and_looked_up_once(refused: Any) -> None:
    client = FakeClient(refused)
    results = codec(client).decode_batch([VALUE, VALUE])
    assert [type(result) for result in results] == [IncompatibleSchemaError] * 2
    assert client.lookups == [7]


def test_a_schema_without_a_type_is_avro() -> None:
    assert codec(FakeClient(answer(current_text(BehaviorEvent), None))).decode(VALUE) == EVENT


def test_an_unregistered_schema_is_a_contract_error() -> None:
    confluent = codec(FakeClient(SchemaRegistryError(404, 40401, "Subject not found")))
    with pytest.raises(ContractError, match=r"not registered under sway\.events-value"):
        confluent.prepare_write()


def test_an_unavailable_registry_is_retried_when_writing() -> None:
    confluent = codec(FakeClient(TimeoutError(), SimpleNamespace(schema_id=7)))
    with pytest.raises(RegistryUnavailable):
        confluent.encode(EVENT)
    assert confluent.encode(EVENT) == VALUE


def test_connecting_sends_nothing_and_bounds_each_request() -> None:
    client = connect("http://127.0.0.1:9", timeout_s=1.5, more={"basic.auth.user.info": "user:word"})
    assert client._rest_client.timeout == 1.5
    assert client._rest_client.max_retries == 0
    client.close()


def test_refused_settings_do_not_reveal_their_values() -> None:
    with pytest.raises(ContractError) as caught:
        connect("ftp://user:word@host", more={"basic.auth.user.info": "user:word"})
    assert "word" not in str(caught.value)


def test_confluents_serializer_and_ours_read_each_other() -> None:
    client = SchemaRegistryClient.new_client({"url": "mock://interoperability"})
    context = SerializationContext("sway.events", MessageField.VALUE)
    ours = Codec(
        BehaviorEvent, resolver=RegistryResolver(client), write="confluent", subject="sway.events-value"
    )
    mapping = {**to_mapping(EVENT), "occurred_at": datetime.fromtimestamp(EVENT.occurred_at / 1000, tz=UTC)}
    value = AvroSerializer(client, current_text(BehaviorEvent))(mapping, context)
    assert isinstance(value, bytes)
    assert ours.decode(value) == EVENT

    client.register_schema("sway.events-value", RegistrySchema(current_text(BehaviorEvent), "AVRO"))
    theirs = AvroDeserializer(client, current_text(BehaviorEvent))(ours.encode(EVENT), context)
    assert theirs["item_text"] == EVENT.item_text
    assert theirs["occurred_at"] == mapping["occurred_at"]
    assert ours.encode(EVENT)[5:] == value[5:]
