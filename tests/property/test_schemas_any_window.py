"""Windows assembled from blocks: fastavro reads them, and damaged ones never raise anything but DecodeError."""

import io
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from schemas.contracts import current, parsed
from schemas.errors import DecodeError
from schemas.state_records import Behaviour, Window
from schemas.window_rows import FastPathError, Rows, read_rows
from schemas.window_state import (
    HEADER,
    block_head,
    block_outcome,
    block_starts,
    decode_block,
    encode_behaviour,
    join_window,
    split_blocks,
    split_body,
    split_window,
)
from schemas.write import write_long

SCHEMA = parsed(current(Window))
LONGS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.none() | st.floats(allow_nan=False)
TEXTS = st.text(max_size=40) | st.text(min_size=60, max_size=70) | st.just("x" * 9_000)
BEHAVIOURS = st.builds(
    Behaviour, TEXTS, LONGS, LONGS, TEXTS, TEXTS, TEXTS, value=NUMBERS, y=NUMBERS, z=NUMBERS
)
WINDOWS = st.lists(BEHAVIOURS, max_size=8)


@given(WINDOWS)
def test_fastavro_reads_a_joined_window(behaviours: list[Behaviour]) -> None:
    value = join_window(map(encode_behaviour, behaviours))
    stream = io.BytesIO(value[len(HEADER) :])
    decoded: Any = fastavro.schemaless_reader(stream, SCHEMA, None)
    assert decoded["behaviours"] == [asdict(behaviour) for behaviour in behaviours]
    assert stream.read() == b""


@given(WINDOWS)
def test_a_window_written_by_fastavro_splits_equally(behaviours: list[Behaviour]) -> None:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, SCHEMA, asdict(Window(behaviours)))
    blocks = [encode_behaviour(behaviour) for behaviour in behaviours]
    assert split_window(HEADER + stream.getvalue()) == list(zip(behaviours, blocks, strict=True))
    assert split_window(join_window(blocks)) == list(zip(behaviours, blocks, strict=True))


@given(BEHAVIOURS)
def test_a_block_contains_its_behaviour_and_head(behaviour: Behaviour) -> None:
    block = encode_behaviour(behaviour)
    assert decode_block(block) == behaviour
    assert block_head(block) == (behaviour.event_id, behaviour.occurred_at, behaviour.offset)
    assert block_outcome(block) == behaviour.y


@given(WINDOWS)
def test_joined_blocks_split_at_their_boundaries(behaviours: list[Behaviour]) -> None:
    blocks = [encode_behaviour(behaviour) for behaviour in behaviours]
    assert split_body(b"".join(blocks)) == blocks
    assert join_window([b"".join(blocks)]) == join_window(blocks)


@given(WINDOWS, st.data())
def test_damaged_state_decodes_or_is_a_decode_error(behaviours: list[Behaviour], data: st.DataObject) -> None:
    value = bytearray(join_window(map(encode_behaviour, behaviours)))
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(value[: data.draw(st.integers(0, len(value)))])
    for broken in (bytes(value), cut):
        try:
            blocks = split_blocks(broken)
        except DecodeError:
            continue
        for block in blocks:
            try:
                y = decode_block(block).y
                assert repr(block_outcome(block)) == repr(y)
                block_head(block)
            except DecodeError:
                continue
        for read in (block_outcome, split_body):
            with suppress(DecodeError):
                for block in blocks:
                    read(block)


USUAL = st.builds(
    Behaviour,
    TEXTS.filter(lambda text: len(text) < 1_000),
    st.integers(-(2**54), 2**54),
    st.integers(-(2**54), 2**54),
    *[st.text(max_size=80)] * 3,
    value=NUMBERS,
    y=NUMBERS,
    z=NUMBERS,
)


@given(st.lists(USUAL, min_size=1, max_size=8))
def test_the_fast_path_reads_all_usual_blocks(behaviours: list[Behaviour]) -> None:
    body, starts = joined(behaviours)
    assert fields_of(body, read_rows(body, starts)) == [fields(behaviour) for behaviour in behaviours]


@given(st.lists(BEHAVIOURS, min_size=1, max_size=8))
def test_the_fast_path_reads_blocks_correctly_or_declines(behaviours: list[Behaviour]) -> None:
    body, starts = joined(behaviours)
    with suppress(FastPathError):
        assert fields_of(body, read_rows(body, starts)) == [fields(behaviour) for behaviour in behaviours]


@given(st.lists(USUAL, min_size=1, max_size=4), st.data())
def test_the_fast_path_stays_within_damaged_blocks(behaviours: list[Behaviour], data: st.DataObject) -> None:
    body, starts = joined(behaviours)
    at = data.draw(st.integers(0, len(body) - 1))
    broken = body[:at] + data.draw(st.binary(min_size=1, max_size=1)) + body[at + 1 :]
    with suppress(FastPathError):
        rows = read_rows(broken[: data.draw(st.integers(starts[-1] + 1, len(body)))], starts)
        assert (rows.starts <= rows.ends).all()
        assert rows.ends.max() < len(body)


def joined(behaviours: list[Behaviour]) -> tuple[bytes, list[int]]:
    body = b"".join(map(encode_behaviour, behaviours))
    return body, block_starts(body)


def fields(behaviour: Behaviour) -> tuple[Any, ...]:
    strings = (behaviour.action.encode(), behaviour.item_id.encode(), behaviour.item_text.encode())
    words = b"".join(write_long(len(string)) + string for string in strings)
    return behaviour.offset, behaviour.occurred_at, words, behaviour.value, behaviour.y, behaviour.z


def fields_of(body: bytes, rows: Rows) -> list[tuple[Any, ...]]:
    def number(value: float, there: bool) -> float | None:
        return value if there else None

    return [
        (
            int(rows.offset[row]),
            int(rows.occurred_at[row]),
            body[rows.starts[row] : rows.ends[row]],
            number(float(rows.value[row]), bool(rows.has_value[row])),
            number(float(rows.y[row]), bool(rows.has_y[row])),
            number(float(rows.z[row]), bool(rows.has_z[row])),
        )
        for row in range(len(rows.offset))
    ]
