"""Records of producers with another schema version: added, removed, renamed, widened and reordered fields."""

import copy
import io
from typing import Any

import fastavro
import pytest

from schemas.contracts import current, fingerprint, parsed
from schemas.convert import to_mapping
from schemas.errors import DecodeError, IncompatibleSchemaError, WrongRecordError
from schemas.evolve import prepare_evolved_reader
from schemas.plan import plan
from schemas.records import BehaviorEvent, Outcome, Recommendation, RecommendationRequest
from schemas.resolvers import LocalResolver
from schemas.wire import Codec
from tests.golden.make import OneSchemaResolver
from tests.golden.samples import EVENT, SAMPLES

ID = b"\x00\x00\x00\x00\x07"
OUTCOME = Outcome("e", "u", 1.0, 1_000, 0.5)


def field(schema: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in schema["fields"] if entry["name"] == name)
    return found


def without(schema: Any, *names: str) -> Any:
    return {**schema, "fields": [entry for entry in schema["fields"] if entry["name"] not in names]}


def schema_copy(record_type: type[Any]) -> Any:
    return copy.deepcopy(current(record_type))


def read(record_type: type[Any], writer: Any, mapping: dict[str, Any]) -> Any:
    """Decode a value that a producer with the writer's schema encoded."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parsed(writer), mapping)
    codec: Codec[Any] = Codec(record_type, resolver=OneSchemaResolver(7, writer))
    (result,) = codec.decode_batch([ID + stream.getvalue()])
    return result


def test_fields_missing_from_an_older_producer_take_defaults() -> None:
    writer = without(current(BehaviorEvent), "item_text", "value", "domain", "attributes")
    mapping = {"event_id": "e", "user_id": "u", "action": "view", "occurred_at": 5, "item_id": "i"}
    assert read(BehaviorEvent, writer, mapping) == BehaviorEvent("e", "u", "view", 5, "i")


def test_a_default_collection_is_never_shared_between_records() -> None:
    writer = without(current(BehaviorEvent), "attributes")
    mapping = {key: value for key, value in to_mapping(EVENT).items() if key != "attributes"}
    first = read(BehaviorEvent, writer, mapping)
    first.attributes["mine"] = "only"
    assert read(BehaviorEvent, writer, mapping).attributes == {}
    assert current(BehaviorEvent)["fields"][-1]["default"] == {}


def test_unknown_fields_of_a_newer_producer_are_skipped() -> None:
    writer = schema_copy(BehaviorEvent)
    more = {"type": "record", "name": "Geo", "fields": [{"name": "lat", "type": "double"}]}
    writer["fields"].insert(0, {"name": "geo", "type": ["null", more]})
    writer["fields"].append({"name": "tags", "type": {"type": "array", "items": "string"}})
    mapping = {**to_mapping(EVENT), "geo": {"lat": 1.0}, "tags": ["a", "b"]}
    assert read(BehaviorEvent, writer, mapping) == EVENT


def test_fields_in_another_order_are_matched_by_name() -> None:
    writer = schema_copy(BehaviorEvent)
    writer["fields"].reverse()
    assert read(BehaviorEvent, writer, to_mapping(EVENT)) == EVENT


def test_a_renamed_field_is_found_by_our_alias() -> None:
    ours = schema_copy(Outcome)
    field(ours, "observed_at")["aliases"] = ["seen_at"]
    writer = schema_copy(Outcome)
    field(writer, "observed_at")["name"] = "seen_at"
    stream = io.BytesIO()
    mapping = to_mapping(OUTCOME)
    mapping["seen_at"] = mapping.pop("observed_at")
    fastavro.schemaless_writer(stream, parsed(writer), mapping)
    reader = prepare_evolved_reader(plan(ours), ours, writer, 0)
    assert reader(stream.getvalue()) == OUTCOME


def test_a_renamed_record_is_read_only_through_an_alias() -> None:
    writer = {**schema_copy(Outcome), "name": "Result"}
    ours = {**schema_copy(Outcome), "aliases": ["io.sway.v1.Result"]}
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parsed(writer), to_mapping(OUTCOME))
    assert prepare_evolved_reader(plan(ours), ours, writer, 0)(stream.getvalue()) == OUTCOME
    with pytest.raises(WrongRecordError, match="is a Result; expected Outcome"):
        prepare_evolved_reader(plan(ours), current(Outcome), writer, 0)


def test_numbers_are_widened_and_stay_floats() -> None:
    writer = schema_copy(Outcome)
    field(writer, "y")["type"] = "int"
    field(writer, "z").update(type="float", default=0.0)
    field(writer, "observed_at")["type"] = "int"
    result = read(Outcome, writer, {**to_mapping(OUTCOME), "y": 1, "z": 0.5})
    assert result == OUTCOME
    assert type(result.y) is float


def test_namespace_docs_and_hints_do_not_affect_reading() -> None:
    writer = {**schema_copy(BehaviorEvent), "namespace": "com.shop", "doc": "ours"}
    field(writer, "event_id")["type"] = {"type": "string", "avro.java.string": "String"}
    assert read(BehaviorEvent, writer, to_mapping(EVENT)) == EVENT


def test_docs_defaults_and_hints_do_not_change_the_fingerprint() -> None:
    writer = without(schema_copy(BehaviorEvent))
    field(writer, "event_id")["type"] = {"type": "string", "avro.java.string": "String"}
    for entry in writer["fields"]:
        entry.pop("doc")
        entry.pop("default", None)
    assert fingerprint(writer) == fingerprint(current(BehaviorEvent))


def test_a_logical_type_does_not_convert_the_unit() -> None:
    """The long is read unchanged. Validation refuses microseconds as a time in the future."""
    writer = schema_copy(Outcome)
    field(writer, "observed_at")["type"] = {"type": "long", "logicalType": "timestamp-micros"}
    assert read(Outcome, writer, to_mapping(OUTCOME)) == OUTCOME


@pytest.mark.parametrize("value", [None, "u"])
def test_a_nullable_writer_field_is_read_unless_null(value: str | None) -> None:
    writer = schema_copy(Outcome)
    field(writer, "user_id")["type"] = ["null", "string"]
    result = read(Outcome, writer, {**to_mapping(OUTCOME), "user_id": value})
    assert result == OUTCOME if value else isinstance(result, IncompatibleSchemaError)


@pytest.mark.parametrize(
    "writer",
    [
        without(current(Outcome), "user_id"),
        without(current(Outcome), "y"),
        {
            **current(Outcome),
            "fields": [
                {"name": entry["name"], "type": "string" if entry["name"] == "y" else entry["type"]}
                for entry in current(Outcome)["fields"]
            ],
        },
    ],
    ids=["no-user", "no-y", "y-is-text"],
)
def test_an_unresolvable_writer_schema_is_incompatible(writer: Any) -> None:
    mapping: dict[str, Any] = to_mapping(OUTCOME)
    if any(entry["type"] == "string" and entry["name"] == "y" for entry in writer["fields"]):
        mapping["y"] = "1.0"
    assert isinstance(read(Outcome, writer, mapping), IncompatibleSchemaError)


def test_nested_records_evolve() -> None:
    writer = schema_copy(RecommendationRequest)
    candidate = field(writer, "candidates")["type"]["items"]
    candidate["fields"] = [
        {"name": "colour", "type": "string"},
        *(entry for entry in candidate["fields"] if entry["name"] == "item_id"),
    ]
    mapping = {
        "request_id": "r",
        "user_id": "u",
        "candidates": [{"colour": "red", "item_id": "i"}],
        "requested_at": 1,
        "action": "view",
        "limit": 3,
        "domain": "",
    }
    request = read(RecommendationRequest, writer, mapping)
    assert request.candidates[0].item_id == "i"
    assert request.candidates[0].value is None


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_fastavro_reads_every_record_like_the_plan(record: Any) -> None:
    record_type = type(record)
    writer = schema_copy(record_type)
    writer["fields"].append({"name": "more", "type": "long"})
    assert read(record_type, writer, {**to_mapping(record), "more": 1}) == record
    assert isinstance(read(Recommendation, writer, {**to_mapping(record), "more": 1}), DecodeError) == (
        record_type is not Recommendation
    )


def test_a_foreign_schema_can_be_known_without_a_registry() -> None:
    writer = schema_copy(BehaviorEvent)
    writer["fields"].append({"name": "more", "type": "long"})
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parsed(writer), {**to_mapping(EVENT), "more": 1})
    value = b"\xc3\x01" + fingerprint(writer) + stream.getvalue()
    assert Codec(BehaviorEvent, resolver=LocalResolver([writer])).decode(value) == EVENT
