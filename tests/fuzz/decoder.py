"""The oracle for decoding arbitrary bytes, shared by Hypothesis and a coverage-guided fuzzer.

The first byte of an input selects the decoder, which reads the rest. It returns a record or raises a DecodeError with
a short message. A record round-trips through its encoding, and fastavro decodes the same one.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro

from schemas.contracts import all_known, current, parsed
from schemas.convert import from_mapping
from schemas.errors import DecodeError
from schemas.records import RECORD_TYPES
from schemas.state_records import Window
from schemas.window_state import (
    block_head,
    block_outcome,
    decode_block,
    join_window,
    read_window,
    split_body,
)
from schemas.wire import SINGLE_OBJECT_MAGIC, Codec, header_of
from stream.exactly_once.units.errors import StateFormatError
from stream.scoring.labels.state import StateCodec, estimates_codec, items_codec, pending_codec
from tests.golden.make import OneSchemaResolver

GOLDEN = Path(__file__).parents[1] / "golden"
ID = b"\x00\x00\x00\x00\x07"
_MORE = {"name": "more", "type": ["null", "string"], "default": None}  # turns a schema into an evolved one
_MAX_MESSAGE_CHARS = 200
_WINDOWS = Codec(Window)

Check = Callable[[bytes], None]


def check(data: bytes) -> None:
    """Decode the input with the decoder of its first byte. Raises AssertionError, or the decoder's unexpected error."""
    if data:
        CHECKS[data[0] % len(CHECKS)](data[1:])


def seeds() -> Iterator[bytes]:
    """Yield valid inputs for every decoder: the golden records in each format."""
    for number, name in enumerate(NAMES):
        kind, _, how = name.partition(" ")
        for path in sorted(GOLDEN.glob(f"{kind}.*.confluent.bin")):
            body = path.read_bytes()[len(ID) :]
            single = path.with_name(path.name.replace("confluent", "single_object")).read_bytes()
            value = {"plan": body, "evolved": body + b"\x00"}.get(how, single)
            yield bytes([number]) + value
            if how == "window":
                # State contains one block per behaviour.
                blocks, _ = read_window(single)
                yield bytes([number]) + join_window(blocks)
                yield bytes([number]) + join_window(blocks, (1_750_000_000_000, 7))


def _record_or_error(record_type: type[Any], codec: Codec[Any], header: bytes, *, by_plan: bool) -> Check:
    write, schema = Codec(record_type), parsed(current(record_type))

    def read(body: bytes) -> None:
        try:
            record = codec.decode(header + body)
        except DecodeError as error:
            _check_message(error)
            return
        assert isinstance(record, record_type)
        assert repr(write.decode(write.encode(record))) == repr(record)  # repr: a NaN is not equal to itself
        if by_plan:
            stream = io.BytesIO(body)
            theirs: Any = fastavro.schemaless_reader(stream, schema, None)
            assert stream.tell() == len(body)
            assert repr(from_mapping(record_type, theirs)) == repr(record)

    return read


def _check_message(error: DecodeError) -> None:
    assert len(str(error)) < _MAX_MESSAGE_CHARS


def _state_or_error(codec: StateCodec[Any]) -> Check:
    def read(raw: bytes) -> None:
        try:
            value = codec.loads(raw)
        except DecodeError as error:
            _check_message(error)
            return
        except StateFormatError:
            # Allowed only for the fingerprint of an unknown schema.
            assert (header_of(raw) or b"")[len(SINGLE_OBJECT_MAGIC) :] not in all_known()
            return
        assert repr(codec.loads(codec.dumps(value))) == repr(value)

    return read


def _window_or_error(raw: bytes) -> None:
    try:
        blocks, floor = read_window(raw)
    except DecodeError:
        return
    assert read_window(join_window(blocks, floor)) == (blocks, floor)
    try:
        behaviours = [decode_block(block) for block in blocks]
    except DecodeError:
        return
    for block, one in zip(blocks, behaviours, strict=True):
        assert block_head(block) == (one.event_id, one.occurred_at, one.offset)
        assert repr(block_outcome(block)) == repr(one.y)
    assert split_body(b"".join(blocks)) == blocks
    whole = _WINDOWS.decode(raw)  # the general decoder, which ignores blocks
    assert repr(whole.behaviours) == repr(behaviours)
    assert floor in (None, (whole.floor_occurred_at, whole.floor_offset))


def _checks() -> Iterator[tuple[str, Check]]:
    for record_type in RECORD_TYPES:
        ours = current(record_type)
        evolved = {**ours, "fields": [*ours["fields"], _MORE]}
        name = record_type.__name__
        single: Codec[Any] = Codec(record_type)
        plan: Codec[Any] = Codec(record_type, resolver=OneSchemaResolver(7, ours))
        other: Codec[Any] = Codec(record_type, resolver=OneSchemaResolver(7, evolved))
        yield f"{name} value", _record_or_error(record_type, single, b"", by_plan=False)
        yield f"{name} plan", _record_or_error(record_type, plan, ID, by_plan=True)
        yield f"{name} evolved", _record_or_error(record_type, other, ID, by_plan=False)
    yield "Window window", _window_or_error
    for kind in ("PendingLabel", "Signals", "DueList", "JoinClock", "Witnesses"):
        yield f"{kind} pending", _state_or_error(pending_codec())
    for kind in ("Estimate", "ScoredSnapshot"):
        yield f"{kind} estimates", _state_or_error(estimates_codec())
    for kind in ("ItemRate", "ItemSums", "UserSums", "PartitionSums"):
        yield f"{kind} items", _state_or_error(items_codec())


NAMES, CHECKS = zip(*_checks(), strict=True)
