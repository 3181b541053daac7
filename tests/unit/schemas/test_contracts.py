"""The schema files, the record classes and the published versions agree."""

from dataclasses import MISSING, Field, fields
from typing import Any

import pytest

from schemas.contracts import all_known, current, fingerprint, physical, published
from schemas.errors import ContractError
from schemas.plan import plan
from schemas.records import RECORD_TYPES, Record
from tests.golden.make import without_docs


def default_of(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def all_fields(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [field for branch in schema for field in all_fields(branch)]
    if not isinstance(schema, dict):
        return []
    inner = [field for key in ("type", "items", "values") for field in all_fields(schema.get(key))]
    own = schema.get("fields", [])
    return [*own, *inner, *[found for field in own for found in all_fields(field["type"])]]


@pytest.mark.parametrize("record_type", RECORD_TYPES)
def test_a_record_class_matches_its_schema(record_type: type[Record]) -> None:
    schema = current(record_type)
    plan(schema)
    for field, class_field in zip(schema["fields"], fields(record_type), strict=True):
        assert class_field.name == field["name"]
        assert default_of(class_field) == field.get("default", MISSING)


@pytest.mark.parametrize("record_type", RECORD_TYPES)
def test_every_field_is_documented_and_every_time_is_timestamp_millis(record_type: type[Record]) -> None:
    schema = current(record_type)
    assert schema["namespace"] == "io.sway.v1"
    assert schema["doc"]
    for field in all_fields(schema):
        assert len(field["doc"]) > 5, field["name"]
        time = {"type": "long", "logicalType": "timestamp-millis"}
        is_time = field["type"] in (time, ["null", time])
        assert is_time == (field["name"].endswith("_at") or field["name"] == "timestamp")


@pytest.mark.parametrize("record_type", RECORD_TYPES)
def test_the_current_schema_is_the_newest_published_one(record_type: type[Record]) -> None:
    versions = published(record_type)
    assert versions, "publish it: python -m tests.golden.make"
    assert without_docs(current(record_type)) == without_docs(versions[-1]), (
        "a published schema is never edited: python -m tests.golden.make publishes the change as a new version"
    )


def test_every_published_version_is_found_by_its_fingerprint() -> None:
    assert all(fingerprint(current(record_type)) in all_known() for record_type in RECORD_TYPES)
    assert len({fingerprint(current(record_type)) for record_type in RECORD_TYPES}) == len(RECORD_TYPES)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        # Avro's test data (share/test/data/schema-tests.txt), as signed numbers.
        ("null", 7195948357588979594),
        ("boolean", -6970731678124411036),
        ("int", 8247732601305521295),
        ({"type": "int"}, 8247732601305521295),
        ("long", -3434872931120570953),
        ("string", -8142146995180207161),
    ],
)
def test_fingerprints_match_the_test_data_of_avro(schema: Any, expected: int) -> None:
    assert fingerprint(schema) == expected.to_bytes(8, "little", signed=True)


def test_the_fingerprint_follows_the_algorithm_of_the_specification() -> None:
    canonical = '{"name":"io.sway.v1.Outcome","type":"record","fields":['
    canonical += '{"name":"event_id","type":"string"},{"name":"user_id","type":"string"},'
    canonical += '{"name":"y","type":"double"},{"name":"observed_at","type":"long"},'
    canonical += '{"name":"z","type":["null","double"]}]}'
    table = []
    for byte in range(256):
        row = byte
        for _ in range(8):
            row = (row >> 1) ^ (0xC15D213AA4D7A795 if row & 1 else 0)
        table.append(row)
    crc = 0xC15D213AA4D7A795
    for byte in canonical.encode():
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    outcome = next(record_type for record_type in RECORD_TYPES if record_type.__name__ == "Outcome")
    assert fingerprint(published(outcome)[0]) == crc.to_bytes(8, "little")


def test_physical_removes_logical_types_but_keeps_defaults() -> None:
    schema = {
        "type": "record",
        "name": "A",
        "fields": [
            {
                "name": "t",
                "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}],
                "default": None,
            },
            {"name": "m", "type": {"type": "map", "values": "string"}, "default": {"logicalType": "x"}},
        ],
    }
    stripped = physical(schema)
    assert stripped["fields"][0] == {"name": "t", "type": ["null", {"type": "long"}], "default": None}
    assert stripped["fields"][1] == schema["fields"][1]


@pytest.mark.parametrize(
    ("fields_", "message"),
    [
        ([{"name": "topic", "type": "string"}], "differ"),
        (
            [
                {"name": "topic", "type": "string"},
                {"name": "partition", "type": "float"},
                {"name": "offset", "type": "long"},
            ],
            "unsupported type float",
        ),
        (
            [
                {"name": "topic", "type": ["string", "null"]},
                {"name": "partition", "type": "int"},
                {"name": "offset", "type": "long"},
            ],
            "only null followed by one type",
        ),
    ],
)
def test_an_unsupported_schema_is_refused(fields_: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        plan({"type": "record", "name": "Source", "fields": fields_})


def test_a_schema_without_a_class_is_refused() -> None:
    with pytest.raises(ContractError, match="has no class"):
        plan({"type": "record", "name": "Nobody", "fields": []})
