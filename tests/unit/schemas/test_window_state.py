"""The encoded window: blocks are appended without rewriting the others, and any Avro reader reads it."""

import io
from typing import Any

import fastavro
import pytest

from schemas import window_state
from schemas.contracts import current, fingerprint, parsed
from schemas.convert import to_mapping
from schemas.errors import (
    DecodeError,
    EncodeError,
    TrailingBytesError,
    TruncatedError,
    UndecodableError,
    UnknownSchemaError,
)
from schemas.resolvers import LocalResolver
from schemas.state_records import Behaviour, Window
from schemas.window_state import (
    HEADER,
    block_head,
    decode_block,
    encode_behaviour,
    join_window,
    read_window,
    split_blocks,
    split_window,
)
from schemas.wire import Codec

FIRST = Behaviour("e-1", 17, 1_735_689_500_000, "watch", "item-1", "Alien", 12.5, 1.0, 0.75)
SECOND = Behaviour("e-ü-2", 18, 1_735_689_600_000, "view", "item-2", "x" * 9_000)
BLOCKS = [encode_behaviour(FIRST), encode_behaviour(SECOND)]
VALUE = join_window(BLOCKS)
TAIL = b"\x00\x00\x00"
"""End of the blocks, and no floor."""


def encoded_by_fastavro(schema: Any, mapping: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parsed(schema), mapping)
    return b"\xc3\x01" + fingerprint(schema) + stream.getvalue()


def test_any_avro_reader_reads_a_window() -> None:
    decoded = fastavro.schemaless_reader(io.BytesIO(VALUE[10:]), parsed(current(Window)), None)
    assert decoded == to_mapping(Window([FIRST, SECOND]))
    assert Codec(Window).decode(VALUE) == Window([FIRST, SECOND])


def test_a_window_splits_into_its_original_blocks() -> None:
    assert split_blocks(VALUE) == BLOCKS
    assert split_window(VALUE) == [(FIRST, BLOCKS[0]), (SECOND, BLOCKS[1])]


def test_a_behaviour_is_appended_without_rewriting_the_others() -> None:
    third = encode_behaviour(FIRST)
    assert join_window([*split_blocks(VALUE), third]) == VALUE[:-3] + third + TAIL


def test_an_empty_window_has_no_blocks_and_no_floor() -> None:
    assert join_window([]) == HEADER + TAIL
    assert split_blocks(HEADER + TAIL) == []


@pytest.mark.parametrize("floor", [None, (0, 0), (-5, 7), (1_735_689_500_000, 2**40)])
def test_any_avro_reader_reads_the_floor(floor: tuple[int, int] | None) -> None:
    value = join_window(BLOCKS, floor)
    assert read_window(value) == (BLOCKS, floor)
    time_ms, offset = floor or (None, None)
    assert Codec(Window).decode(value) == Window([FIRST, SECOND], time_ms, offset)
    assert (
        read_window(encoded_by_fastavro(current(Window), to_mapping(Window([FIRST], time_ms, offset))))[1]
        == floor
    )


def test_the_head_of_a_block_identifies_its_behaviour() -> None:
    assert [block_head(block) for block in BLOCKS] == [
        (FIRST.event_id, FIRST.occurred_at, FIRST.offset),
        (SECOND.event_id, SECOND.occurred_at, SECOND.offset),
    ]


@pytest.mark.parametrize("behaviours", [[FIRST, SECOND], [FIRST], []])
def test_a_window_of_another_writer_is_rewritten(behaviours: list[Behaviour]) -> None:
    window = Window(behaviours)
    blocks = [encode_behaviour(behaviour) for behaviour in behaviours]
    assert split_blocks(encoded_by_fastavro(current(Window), to_mapping(window))) == blocks
    assert split_blocks(Codec(Window).encode(window)) == blocks


def test_state_in_an_older_schema_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    older = current(Window)
    items = older["fields"][0]["type"]["items"]
    items["fields"] = [field for field in items["fields"] if field["name"] not in {"y", "z"}]
    # The older schema has no floor.
    older["fields"] = older["fields"][:1]
    known = Codec(Window, resolver=LocalResolver([older]))
    monkeypatch.setattr(window_state, "_codec", known)
    mapping = to_mapping(Window([FIRST, SECOND]))
    without_outcomes = [
        {key: value for key, value in behaviour.items() if key not in {"y", "z"}}
        for behaviour in mapping["behaviours"]
    ]
    value = encoded_by_fastavro(older, {"behaviours": without_outcomes})
    upgraded = split_window(value)
    first = Behaviour("e-1", 17, 1_735_689_500_000, "watch", "item-1", "Alien", 12.5)
    assert [behaviour for behaviour, _ in upgraded] == [first, SECOND]
    assert [block for _, block in upgraded] == [encode_behaviour(first), BLOCKS[1]]
    assert join_window([block for _, block in upgraded]).startswith(HEADER)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (HEADER, TruncatedError),
        (HEADER + b"\x01", TruncatedError),
        (VALUE[:-1], TruncatedError),
        (VALUE[:-2], TruncatedError),
        (VALUE + b"\x00", TrailingBytesError),
        (HEADER + b"\x01\x01" + TAIL, UndecodableError),
        (VALUE[:-2] + b"\x02\x05\x00\x05", UndecodableError),
        (VALUE[:-2] + b"\x02\x05\x02", TruncatedError),
        (HEADER + b"\x01" + b"\xff" * 20, UndecodableError),
        (b"\xc3\x01" + bytes(8) + b"\x00", UnknownSchemaError),
        (b"", DecodeError),
        (b"junk", DecodeError),
    ],
)
def test_broken_state_is_a_decode_error(value: bytes, error: type[DecodeError]) -> None:
    with pytest.raises(error):
        split_blocks(value)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x01",
        b"\x02" + BLOCKS[0][2:],
        BLOCKS[0] + b"\x00",
        BLOCKS[0][:-1],
        BLOCKS[0] + BLOCKS[1],
        b"\x01\x00",
        b"\x01\x02\x00",
    ],
)
def test_a_broken_block_is_a_decode_error(block: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_block(block)


@pytest.mark.parametrize(
    "block", [b"", b"\x01", b"\x01\x02\x06", b"\x01\x10\x04\xff\xfe\x00\x00", b"\x01\x10\x03"]
)
def test_a_broken_head_is_a_decode_error(block: bytes) -> None:
    with pytest.raises(DecodeError):
        block_head(block)


def test_an_invalid_behaviour_is_an_encode_error() -> None:
    not_an_id: Any = None
    with pytest.raises(EncodeError):
        encode_behaviour(Behaviour(not_an_id, 1, 1, "a", "i", "t"))
