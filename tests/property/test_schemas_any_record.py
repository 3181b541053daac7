"""The codec compared with fastavro: equal bytes, equal records, and no error other than DecodeError."""

import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.contracts import current, parsed
from schemas.convert import from_mapping, to_mapping
from schemas.errors import DecodeError
from schemas.plan import (
    ARRAY,
    BOOLEAN,
    BYTES,
    DOUBLE,
    INT,
    LONG,
    MAP,
    OPTIONAL,
    RECORD,
    STRING,
    RecordPlan,
    Step,
    plan,
)
from schemas.records import RECORD_TYPES, Record
from schemas.wire import Codec
from tests.golden.make import OneSchemaResolver

ID = b"\x00\x00\x00\x00\x07"
SIMPLE: dict[int, st.SearchStrategy[Any]] = {
    STRING: st.text(max_size=80),
    LONG: st.integers(-(2**63), 2**63 - 1),
    INT: st.integers(-(2**31), 2**31 - 1),
    DOUBLE: st.floats(allow_nan=False),
    BOOLEAN: st.booleans(),
    BYTES: st.binary(max_size=80),
}
EVOLVED: dict[str, Any] = {"name": "more", "type": ["null", "string"], "default": None}


def values(step: Step) -> st.SearchStrategy[Any]:
    kind, inner = step
    if kind == OPTIONAL:
        return st.none() | values(inner)
    if kind == MAP:
        return st.dictionaries(st.text(max_size=20), values(inner), max_size=5)
    if kind == ARRAY:
        return st.lists(values(inner), max_size=5)
    if kind == RECORD:
        return records(inner)
    return SIMPLE[kind]


def records(record_plan: RecordPlan) -> st.SearchStrategy[Any]:
    fields = dict(zip(record_plan.names, map(values, record_plan.steps), strict=True))
    return st.builds(record_plan.build, **fields)


PLANS = {record_type: plan(current(record_type)) for record_type in RECORD_TYPES}
ANY_RECORD = st.one_of([records(record_plan) for record_plan in PLANS.values()])
PARSED = {record_type: parsed(current(record_type)) for record_type in RECORD_TYPES}
SINGLE: dict[type[Any], Codec[Any]] = {record_type: Codec(record_type) for record_type in RECORD_TYPES}
CONFLUENT: dict[type[Any], Codec[Any]] = {
    record_type: Codec(
        record_type, resolver=OneSchemaResolver(7, current(record_type)), write="confluent", subject="s"
    )
    for record_type in RECORD_TYPES
}
THROUGH_FASTAVRO: dict[type[Any], Codec[Any]] = {
    record_type: Codec(
        record_type,
        resolver=OneSchemaResolver(
            7, {**current(record_type), "fields": [*current(record_type)["fields"], EVOLVED]}
        ),
    )
    for record_type in RECORD_TYPES
}


def by_fastavro(record: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, PARSED[type(record)], to_mapping(record))
    return stream.getvalue()


@given(ANY_RECORD)
def test_every_record_round_trips_in_both_formats(record: Any) -> None:
    for codec in (SINGLE[type(record)], CONFLUENT[type(record)]):
        assert codec.decode(codec.encode(record)) == record


@given(ANY_RECORD)
def test_encoded_bytes_equal_those_of_fastavro(record: Any) -> None:
    body = by_fastavro(record)
    assert CONFLUENT[type(record)].encode(record) == ID + body
    assert from_mapping(type(record), to_mapping(record)) == record


@given(ANY_RECORD, st.none() | st.text(max_size=20))
def test_an_evolved_schema_decodes_to_the_same_record(record: Any, more: str | None) -> None:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, EVOLVED["type"], more)
    value = ID + by_fastavro(record) + stream.getvalue()
    assert THROUGH_FASTAVRO[type(record)].decode(value) == record
    (cut,) = THROUGH_FASTAVRO[type(record)].decode_batch([value[:-1]])
    assert isinstance(cut, DecodeError)


@given(ANY_RECORD, st.data())
def test_a_truncated_record_is_a_decode_error(record: Any, data: st.DataObject) -> None:
    for codec in (SINGLE[type(record)], CONFLUENT[type(record)]):
        value = codec.encode(record)
        size = data.draw(st.integers(0, len(value) - 1))
        (result,) = codec.decode_batch([value[:size]])
        assert isinstance(result, DecodeError)


@pytest.mark.parametrize("record_type", RECORD_TYPES)
@given(body=st.binary(max_size=200))
def test_random_bytes_are_a_record_or_a_decode_error(record_type: type[Record], body: bytes) -> None:
    header = SINGLE[record_type].prepare_write()
    for codec, value in (
        (SINGLE[record_type], body),
        (SINGLE[record_type], header + body),
        (CONFLUENT[record_type], ID + body),
        (THROUGH_FASTAVRO[record_type], ID + body),
    ):
        (result,) = codec.decode_batch([value])
        assert isinstance(result, record_type | DecodeError)


@given(ANY_RECORD, st.data())
def test_a_damaged_record_is_a_record_or_a_decode_error(record: Any, data: st.DataObject) -> None:
    record_type = type(record)
    body = bytearray(by_fastavro(record))
    for _ in range(data.draw(st.integers(1, 4))):
        if body:
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for codec in (CONFLUENT[record_type], THROUGH_FASTAVRO[record_type]):
        (result,) = codec.decode_batch([ID + bytes(body)])
        assert isinstance(result, record_type | DecodeError)


@given(ANY_RECORD, st.data())
def test_damaged_bytes_decode_as_fastavro_decodes_them(record: Any, data: st.DataObject) -> None:
    """If our codec decodes a record, fastavro decodes the same one; if fastavro fails, so does our codec."""
    record_type = type(record)
    body = bytearray(by_fastavro(record))
    if body:
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (result,) = CONFLUENT[record_type].decode_batch([ID + bytes(body)])
    if not isinstance(result, DecodeError):
        theirs: Any = fastavro.schemaless_reader(io.BytesIO(bytes(body)), PARSED[record_type], None)
        assert repr(from_mapping(record_type, theirs)) == repr(result)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["string", "null", "array"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "name", "fields", "items", "values", "symbols", "size", "default"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(RECORD_TYPES), JSON, st.binary(max_size=60))
def test_an_arbitrary_writer_schema_gives_a_record_or_decode_error(
    record_type: type[Any], field_type: Any, body: bytes
) -> None:
    schema = json.loads(json.dumps({**current(record_type), "fields": [{"name": "x", "type": field_type}]}))
    for writer in (schema, field_type):
        codec: Codec[Any] = Codec(record_type, resolver=OneSchemaResolver(7, writer))
        (result,) = codec.decode_batch([ID + body])
        assert isinstance(result, record_type | DecodeError)
