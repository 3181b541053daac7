"""The codec: both formats, one error class per fault, and batches with bad records."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schemas.contracts import current, fingerprint
from schemas.errors import (
    BadMagicError,
    ContractError,
    DecodeError,
    EmptyValueError,
    EncodeError,
    TooLargeError,
    TrailingBytesError,
    TruncatedError,
    UndecodableError,
    UnknownSchemaError,
    WrongRecordError,
)
from schemas.records import BehaviorEvent, DeadLetter, InfluenceScore, Outcome, Record, TrainingRequest
from schemas.resolvers import LocalResolver
from schemas.wire import Codec, WireFormat, asks_registry
from tests.golden.make import OneSchemaResolver
from tests.golden.samples import EVENT, SAMPLES, SCORE

VALUE = Codec(BehaviorEvent).encode(EVENT)
HEADER = VALUE[:10]


def confluent(record_type: type[Any], schema_id: int = 7) -> Codec[Any]:
    resolver = OneSchemaResolver(schema_id, current(record_type))
    return Codec(record_type, resolver=resolver, write="confluent", subject="sway.events-value")


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_a_record_round_trips_in_both_formats(record: Record) -> None:
    single, other = Codec(type(record)), confluent(type(record))
    assert single.decode(single.encode(record)) == record
    assert other.decode(other.encode(record)) == record
    assert other.decode(single.encode(record)) == record


def test_headers_follow_the_specifications() -> None:
    assert b"\xc3\x01" + fingerprint(current(BehaviorEvent)) == HEADER
    assert confluent(BehaviorEvent, 0x01020304).encode(EVENT)[:5] == b"\x00\x01\x02\x03\x04"
    assert confluent(BehaviorEvent).encode(EVENT)[5:] == VALUE[10:]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, EmptyValueError),
        (b"", EmptyValueError),
        (b'{"user_id": "1"}', BadMagicError),
        (b"\xc3\x02" + bytes(20), BadMagicError),
        (b"\xc3", BadMagicError),
        (b"\x01" + bytes(20), BadMagicError),
        (HEADER[:9], TruncatedError),
        (b"\x00\x00\x00", TruncatedError),
        (HEADER, TruncatedError),
        (b"\xc3\x01" + bytes(8) + VALUE[10:], UnknownSchemaError),
        (b"\x00\x00\x00\x00\x07" + VALUE[10:], UnknownSchemaError),
        (Codec(InfluenceScore).encode(SCORE), WrongRecordError),
        (VALUE + b"\x00", TrailingBytesError),
        (VALUE + VALUE, TrailingBytesError),
        (HEADER + b"\x04\xff\xfe" + VALUE[39:], UndecodableError),
        (HEADER + bytes(5_000_000), TooLargeError),
    ],
)
def test_each_fault_has_its_own_error(value: bytes | None, error: type[DecodeError]) -> None:
    with pytest.raises(error) as caught:
        Codec(BehaviorEvent).decode(value)
    assert type(caught.value) is error
    assert caught.value.reason in str(error.reason)


def test_every_reason_is_used_once() -> None:
    reasons = [error.reason for error in DecodeError.__subclasses__()]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_every_truncated_value_is_a_decode_error(record: Record) -> None:
    codec = Codec(type(record))
    value = codec.encode(record)
    results = codec.decode_batch([value[:size] for size in range(len(value))])
    assert {type(result) for result in results[10:]} == {TruncatedError}
    assert all(isinstance(result, DecodeError) for result in results)


def test_a_batch_keeps_its_order_and_its_good_records() -> None:
    other = replace(EVENT, event_id="second", attributes={})
    codec = Codec(BehaviorEvent)
    results = codec.decode_batch([VALUE, None, b"junk", codec.encode(other), VALUE[:-1]])
    assert [getattr(result, "reason", result) for result in results] == [
        EVENT,
        "empty",
        "bad_magic",
        other,
        "truncated",
    ]


def test_an_error_in_a_batch_holds_no_user_text() -> None:
    typed = "what the user typed"
    broken = Codec(BehaviorEvent).encode(replace(EVENT, item_text=typed)).replace(b"typed", b"\xff\xfeped")
    (error,) = Codec(BehaviorEvent).decode_batch([broken])
    assert isinstance(error, UndecodableError)
    assert error.__traceback__ is None
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "typed" not in repr(error)


def test_a_schema_is_looked_up_once() -> None:
    class Counting(OneSchemaResolver):
        lookups = 0

        def by_id(self, schema_id: int) -> Any:
            Counting.lookups += 1
            return super().by_id(schema_id)

    codec = Codec(BehaviorEvent, resolver=Counting(7, current(BehaviorEvent)))
    values = [confluent(BehaviorEvent).encode(EVENT)] * 10
    assert asks_registry(codec.unresolved(values))
    assert codec.decode_batch(values) == [EVENT] * 10
    assert Counting.lookups == 1
    assert not asks_registry(codec.unresolved([*values, VALUE, None, b"junk"]))


def test_unresolved_returns_the_headers_of_unknown_schemas() -> None:
    codec = Codec(BehaviorEvent, max_record_bytes=500)
    foreign = b"\xc3\x01" + bytes(8)
    too_large = b"\xc3\x01" + b"\x01" * 500
    assert codec.unresolved(
        [VALUE, None, b"", b"junk", b"\x00\x01", foreign[:9], too_large, foreign + b"x"]
    ) == {
        VALUE[:10],
        foreign,
    }
    assert list(codec.resolve({VALUE[:10], foreign})) == [foreign]
    assert codec.unresolved([VALUE]) == set()


def test_without_lookups_a_batch_uses_the_resolved_schemas() -> None:
    resolver = OneSchemaResolver(8, current(BehaviorEvent))
    codec = Codec(BehaviorEvent, resolver=resolver)
    known, unknown = (confluent(BehaviorEvent, schema_id).encode(EVENT) for schema_id in (8, 7))
    (refused,) = codec.resolve(codec.unresolved([known, unknown])).values()
    # Registered in the meantime: the next resolve() finds it.
    resolver._schema_id = 7
    first, second = codec.decode_batch([known, unknown], ask=False)
    assert first == EVENT
    assert (type(second), str(second)) == (UnknownSchemaError, str(refused))
    assert codec.resolve(codec.unresolved([known, unknown])) == {}
    assert codec.decode_batch([known, unknown], ask=False) == [EVENT, EVENT]


def test_a_wrong_record_is_refused_every_time() -> None:
    codec = Codec(BehaviorEvent)
    values = [Codec(InfluenceScore).encode(SCORE)] * 3
    assert [type(result) for result in codec.decode_batch(values)] == [WrongRecordError] * 3


def test_an_unknown_id_is_looked_up_again() -> None:
    resolver = OneSchemaResolver(8, current(BehaviorEvent))
    codec = Codec(BehaviorEvent, resolver=resolver)
    value = confluent(BehaviorEvent, 7).encode(EVENT)
    with pytest.raises(UnknownSchemaError):
        codec.decode(value)
    resolver._schema_id = 7
    assert codec.decode(value) == EVENT


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": None},
        {"event_id": b"bytes"},
        {"event_id": "lone \ud800 surrogate"},
        {"occurred_at": 1.5},
        {"occurred_at": "2024"},
        {"occurred_at": 2**63},
        {"occurred_at": -(2**63) - 1},
        {"value": "12"},
        {"attributes": None, "event_id": 3},
        {"attributes": {"a": 1}},
    ],
)
def test_an_invalid_record_is_an_encode_error(changes: dict[str, Any]) -> None:
    with pytest.raises(EncodeError) as caught:
        Codec(BehaviorEvent).encode(replace(EVENT, **changes))
    assert "surrogate" not in str(caught.value) or "lone surrogate" in str(caught.value)


def test_a_record_of_another_class_is_an_encode_error() -> None:
    codec: Codec[Any] = Codec(BehaviorEvent)
    with pytest.raises(EncodeError):
        codec.encode(Outcome("e", "u", 1.0, 0))


@pytest.mark.parametrize("partition", [2**31, -(2**31) - 1])
def test_an_int_beyond_32_bits_is_neither_written_nor_read(partition: int) -> None:
    score = replace(SCORE, behaviours=partition)
    with pytest.raises(EncodeError):
        Codec(InfluenceScore).encode(score)
    as_written = Codec(InfluenceScore).encode(replace(SCORE, behaviours=2**31 - 1))
    too_long = as_written.replace(b"\xfe\xff\xff\xff\x0f", b"\xfe\xff\xff\xff\x1f")
    assert as_written != too_long
    with pytest.raises(UndecodableError, match="32 bits"):
        Codec(InfluenceScore).decode(too_long)


@pytest.mark.parametrize(
    "number", [0, -1, 1, 63, 64, -64, -65, 8191, 8192, 2**27, 2**41, 2**41 - 1, 2**63 - 1]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_longs_of_every_size_round_trip(number: int, sign: int) -> None:
    event = replace(EVENT, occurred_at=sign * number)
    codec = Codec(BehaviorEvent)
    assert codec.decode(codec.encode(event)) == event
    lowest = replace(EVENT, occurred_at=-(2**63))
    assert codec.decode(codec.encode(lowest)) == lowest


@pytest.mark.parametrize("length", [0, 63, 64, 8190, 8191, 8192, 100_000])
def test_strings_of_every_length_round_trip(length: int) -> None:
    event = replace(EVENT, item_text="x" * length)
    codec = Codec(BehaviorEvent)
    assert codec.decode(codec.encode(event)) == event


def test_numpy_numbers_are_written_by_value() -> None:
    codec = Codec(BehaviorEvent)
    numbers: Any = (np.int32(2**31 - 1), np.float32(0.5))
    value = codec.encode(replace(EVENT, occurred_at=numbers[0], value=numbers[1]))
    assert codec.decode(value) == replace(EVENT, occurred_at=2**31 - 1, value=0.5)


def test_encoding_a_batch_encodes_each_record() -> None:
    codec = Codec(BehaviorEvent)
    assert codec.encode_batch([EVENT, EVENT]) == [VALUE, VALUE]
    assert codec.encode_batch([]) == []


def test_confluents_format_needs_a_subject_and_a_registry() -> None:
    with pytest.raises(ContractError, match="subject"):
        Codec(BehaviorEvent, write="confluent", resolver=LocalResolver())
    unregistered = Codec(BehaviorEvent, write="confluent", subject="sway.events-value")
    with pytest.raises(ContractError, match="without a Schema Registry"):
        unregistered.prepare_write()
    with pytest.raises(ContractError, match="without a Schema Registry"):
        unregistered.encode(EVENT)


def test_an_unknown_format_is_refused() -> None:
    json_format: Any = "json"
    wire_format: WireFormat = json_format
    with pytest.raises(ContractError, match="single_object"):
        Codec(BehaviorEvent, write=wire_format)


def test_the_bytes_of_a_dead_letter_round_trip() -> None:
    codec = Codec(DeadLetter)
    letter = next(record for record in SAMPLES if isinstance(record, DeadLetter))
    letter = replace(letter, raw=bytes(range(256)) * 256, key=None)
    assert codec.decode(codec.encode(letter)) == letter


def test_an_empty_array_round_trips() -> None:
    codec = Codec(TrainingRequest)
    request = TrainingRequest("r", [], 0, 0)
    assert codec.decode(codec.encode(request)) == request
