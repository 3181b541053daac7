"""Hostile bytes and schemas are a quick DecodeError, both with the plan and with fastavro."""

import io
import json
import time
import tracemalloc
from typing import Any

import fastavro
import pytest

from schemas.contracts import current
from schemas.errors import (
    DecodeError,
    IncompatibleSchemaError,
    TooLargeError,
    TruncatedError,
    UndecodableError,
)
from schemas.read import MAX_ENTRIES, MAX_ITEMS
from schemas.records import BehaviorEvent, DeadLetter, TrainingRequest
from schemas.state_records import DueList, Window
from schemas.window_state import HEADER
from schemas.wire import Codec
from tests.golden.make import OneSchemaResolver

ID = b"\x00\x00\x00\x00\x07"


def long(number: int) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, "long", number)
    return stream.getvalue()


def codec_of(record_type: type[Any], *, evolved: bool) -> Codec[Any]:
    schema = current(record_type)
    if evolved:
        # An additional field makes it another schema, which fastavro reads.
        schema = schema | {"fields": [*schema["fields"], {"name": "more", "type": "string"}]}
    return Codec(record_type, resolver=OneSchemaResolver(7, schema))


def decode_in_bounds(codec: Codec[Any], body: bytes) -> DecodeError:
    tracemalloc.start()
    started = time.process_time()
    try:
        (error,) = codec.decode_batch([ID + body])
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5.0
    assert peak_bytes < 50_000_000
    assert isinstance(error, DecodeError), error
    return error


@pytest.mark.parametrize("evolved", [False, True], ids=["plan", "fastavro"])
@pytest.mark.parametrize(
    "body",
    [
        long(2**40),
        long(2**40) + b"abc",
        long(2**63 - 1) + b"abc",
        long(-1),
        long(-5) + b"abcdefgh",
        long(-(2**63)) + b"abc",
        b"\xff" * 100,
        b"\x80" * 1_000_000,
        b"\xff" * 9 + b"\x7f" + b"abc",
        b"",
    ],
    ids=["2**40", "2**40+3", "2**63", "-1", "-5", "-2**63", "endless", "endless-zero", "65-bits", "nothing"],
)
def test_a_string_with_a_false_length_is_refused(body: bytes, evolved: bool) -> None:
    error = decode_in_bounds(codec_of(BehaviorEvent, evolved=evolved), body)
    assert isinstance(error, TruncatedError | UndecodableError)


@pytest.mark.parametrize("evolved", [False, True], ids=["plan", "fastavro"])
@pytest.mark.parametrize("count", [2**60, 2**40, 2**63 - 1, -(2**60), -(2**63), -1])
@pytest.mark.parametrize(
    ("record_type", "before"),
    [(Window, b""), (TrainingRequest, b"\x02r"), (BehaviorEvent, b"\x02e\x02u\x02a\x00\x00\x00\x00\x00")],
)
def test_a_block_with_a_false_count_is_refused(
    record_type: type[Any], before: bytes, count: int, evolved: bool
) -> None:
    for body in (long(count), long(count) + long(2**50), long(count) + b"\x00" * 2_000):
        decode_in_bounds(codec_of(record_type, evolved=evolved), before + body)


def test_a_block_with_a_false_size_is_refused() -> None:
    window = Codec(Window)
    block = b"\x02e" + bytes(8)
    good = HEADER + long(-1) + long(len(block)) + block + bytes(3)
    assert len(window.decode(good).behaviours) == 1
    for size in (len(block) - 1, len(block) + 1, -1):
        bad = HEADER + long(-1) + long(size) + block + bytes(3)
        with pytest.raises(DecodeError):
            window.decode(bad)


def test_millions_of_tiny_map_entries_are_too_many() -> None:
    body = b"\x02e\x02u\x02a\x00\x00\x00\x00\x00" + long(2_000_000) + b"\x00\x00" * 2_000_000
    error = decode_in_bounds(codec_of(BehaviorEvent, evolved=False), body)
    assert isinstance(error, TooLargeError)
    one_by_one = b"\x02e\x02u\x02a\x00\x00\x00\x00\x00" + b"\x02\x00\x00" * 1_000_000
    assert isinstance(decode_in_bounds(codec_of(BehaviorEvent, evolved=False), one_by_one), TooLargeError)


@pytest.mark.parametrize("evolved", [False, True], ids=["plan", "fastavro"])
def test_the_number_of_map_entries_is_limited(evolved: bool) -> None:
    codec = codec_of(BehaviorEvent, evolved=evolved)
    for entries in (MAX_ENTRIES, MAX_ENTRIES + 1, 300_000):
        pairs = b"".join(b"\x0c" + f"{number:06}".encode() + b"\x00" for number in range(entries))
        body = b"\x02e\x02u\x02a\x00\x00\x00\x00\x00" + long(entries) + pairs + b"\x00" + b"\x00" * evolved
        if entries == MAX_ENTRIES:
            assert len(codec.decode(ID + body).attributes) == MAX_ENTRIES
        else:
            assert isinstance(decode_in_bounds(codec, body), TooLargeError)


@pytest.mark.parametrize("evolved", [False, True], ids=["plan", "fastavro"])
def test_the_number_of_array_items_is_limited(evolved: bool) -> None:
    codec = codec_of(DueList, evolved=evolved)
    body = long(MAX_ITEMS + 1) + b"\x00\x00" * (MAX_ITEMS + 1) + b"\x00" + b"\x00" * evolved
    assert isinstance(decode_in_bounds(codec, body), TooLargeError)


@pytest.mark.parametrize("evolved", [False, True], ids=["plan", "fastavro"])
@pytest.mark.parametrize("branch", [2, 3, 2**40])
def test_an_unknown_union_branch_is_refused(branch: int, evolved: bool) -> None:
    body = b"\x02e\x02u\x02a\x00\x00\x00" + long(branch) + bytes(20)
    error = decode_in_bounds(codec_of(BehaviorEvent, evolved=evolved), body)
    assert isinstance(error, TruncatedError | UndecodableError)


def test_a_truncated_skipped_field_is_refused() -> None:
    """fastavro skips a field without checking its bytes, and no field follows that would fail."""
    body = b"\x02e\x02u\x02a\x00\x00\x00\x00\x00\x00"
    codec = codec_of(BehaviorEvent, evolved=True)
    assert isinstance(codec.decode(ID + body + b"\x04ab"), BehaviorEvent)
    for rest in (b"", b"\x04", b"\x04a", long(2**40), long(-1)):
        assert isinstance(decode_in_bounds(codec, body + rest), TruncatedError)


def dead_letter_schema_with(fields: list[dict[str, Any]]) -> dict[str, Any]:
    schema = current(DeadLetter)
    return {**schema, "fields": [*fields, *schema["fields"]]}


LIST = {
    "type": "record",
    "name": "Cell",
    "fields": [{"name": "next", "type": ["null", "Cell"]}],
}
EMPTY = {"type": "record", "name": "Nothing", "fields": [{"name": "n", "type": "null"}]}


def doubled(depth: int) -> Any:
    """Return nested records with two fields per level: 2**depth fields that take no bytes."""
    schema: Any = "null"
    for level in range(depth):
        name = f"L{level}"
        again = schema if isinstance(schema, str) else schema["name"]
        fields = [{"name": "a", "type": schema}, {"name": "b", "type": again}]
        schema = {"type": "record", "name": name, "fields": fields}
    return schema


def nested(depth: int) -> Any:
    schema: Any = "string"
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "field_type",
    [
        LIST,
        {"type": "array", "items": "null"},
        {"type": "array", "items": EMPTY},
        {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}},
        {"type": "map", "values": {"type": "array", "items": "null"}},
        ["null", {"type": "array", "items": "null"}],
        doubled(40),
        nested(60),
        {
            "type": "record",
            "name": "Wide",
            "fields": [{"name": f"f{n}", "type": "int"} for n in range(2_000)],
        },
    ],
    ids=["recursive", "nulls", "empties", "fixed-0", "in-map", "in-union", "doubled", "nested", "wide"],
)
def test_a_writer_schema_that_could_hang_or_crash_is_refused(field_type: Any) -> None:
    schema = dead_letter_schema_with([{"name": "evil", "type": field_type}])
    codec = Codec(DeadLetter, resolver=OneSchemaResolver(7, schema))
    for body in (long(2**60) + bytes(50), b"\x02" * 1_000_000):
        assert isinstance(decode_in_bounds(codec, body), IncompatibleSchemaError)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "record"},
        {"type": "record", "name": "DeadLetter"},
        {"type": "record", "name": "DeadLetter", "fields": None},
        {"type": "record", "name": "DeadLetter", "fields": [{"name": "a"}]},
        {"type": "record", "name": "DeadLetter", "fields": [{"name": "a", "type": "Unknown"}]},
        {"type": "record", "name": "DeadLetter", "fields": [{"name": "a", "type": {"type": "array"}}]},
        {"type": "nonsense", "name": "DeadLetter"},
        [],
        None,
        7,
        "string",
        "nonsense",
        {"type": "string"},
        json.loads('{"type":' * 400 + '"string"' + "}" * 400),
    ],
)
def test_an_invalid_writer_schema_is_a_decode_error(schema: Any) -> None:
    codec = Codec(DeadLetter, resolver=OneSchemaResolver(7, schema))
    error = decode_in_bounds(codec, b"abc")
    assert error.reason in {"incompatible_schema", "wrong_record"}


@pytest.mark.parametrize("tenth", [b"\x02", b"\x7f"])
def test_a_long_of_more_than_64_bits_is_refused(tenth: bytes) -> None:
    before, after = b"\x02e\x02u\x02a", b"\x00\x00\x00\x00\x00"
    codec = codec_of(BehaviorEvent, evolved=False)
    assert codec.decode(ID + before + b"\xff" * 9 + b"\x01" + after).occurred_at == -(2**63)
    assert isinstance(decode_in_bounds(codec, before + b"\xff" * 9 + tenth + after), UndecodableError)


@pytest.mark.parametrize("evolved", [False, True], ids=["plan", "fastavro"])
@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**62])
def test_an_int_of_more_than_32_bits_is_refused(number: int, evolved: bool) -> None:
    codec = codec_of(TrainingRequest, evolved=evolved)
    good, bad = (
        b"\x02r" + long(1) + b"\x02t" + long(partition) + bytes(6) + b"\x00" * evolved
        for partition in (-(2**31), number)
    )
    assert codec.decode(ID + good).ranges[0].partition == -(2**31)
    assert isinstance(decode_in_bounds(codec, bad), UndecodableError)
