"""Encoding of the windows table: Avro (schema Window), with behaviours that are encoded and decoded separately.

Avro writes an array as any number of blocks, which may state their sizes in bytes. A behaviour is encoded once, as a
block of one item. A window is the header, its blocks, a zero byte and the floor: timestamp and offset of the newest
behaviour evicted from the window, each after the branch index of its union (00 00 without a floor):

    C3 01 <fingerprint>  01 <size> <behaviour>  01 <size> <behaviour>  …  00  02 <time> 02 <offset>

0x01 encodes the count -1: one item, preceded by its size. With the sizes, a window is split into its blocks without
decoding them, at a tenth of the cost. A block is bytes and can be the key of a cache of derived values, such as token
ids.
Source: Avro specification, "Complex Types", arrays.
"""

import struct
from collections.abc import Iterable
from itertools import pairwise

from schemas.contracts import current
from schemas.errors import TrailingBytesError, TruncatedError, UndecodableError
from schemas.plan import plan
from schemas.read import read_block_start, read_long, read_record
from schemas.state_records import Behaviour, Window
from schemas.wire import Codec, single_object_header
from schemas.write import prepare_writer, write_long

HEADER = single_object_header(Window)
_ONE_ITEM = b"\x01"
_END = b"\x00"
_double = struct.Struct("<d").unpack_from
_PRESENT = b"\x02"  # branch 1 of ["null", "long"]
_NO_FLOOR = b"\x00\x00"

Floor = tuple[int, int]
"""occurred_at and offset."""

_PLAN = plan(current(Window)["fields"][0]["type"]["items"])
_write_item = prepare_writer(_PLAN)
_codec = Codec(Window)


def encode_behaviour(behaviour: Behaviour) -> bytes:
    """Encode a behaviour as a block. Raises EncodeError if it does not fit the schema."""
    item = _write_item(behaviour)
    return _ONE_ITEM + write_long(len(item)) + item


def join_window(blocks: Iterable[bytes], floor: Floor | None = None) -> bytes:
    """Return the encoded window of these blocks. The caller orders them by time and offset."""
    return b"".join([HEADER, *blocks, _END, _NO_FLOOR if floor is None else _write_floor(floor)])


def split_blocks(value: bytes) -> list[bytes]:
    """Return the blocks of a window, in order, without decoding them. Raises the same errors as read_window."""
    return read_window(value)[0]


def read_window(value: bytes) -> tuple[list[bytes], Floor | None]:
    """Return the blocks of a window, in order, without decoding them, and its floor.

    A value written with an older schema, or by another Avro writer, is decoded and encoded again.
    Raises a subclass of DecodeError if the value is not a window.
    """
    body, starts, floor = read_body(value)
    return [body[start:end] for start, end in pairwise([*starts, len(body)])], floor


def read_body(value: bytes) -> tuple[bytes, list[int], Floor | None]:
    """Return the concatenated blocks of a window, the start of each, and its floor; otherwise like read_window."""
    if not value.startswith(HEADER):
        return _reencode(value)
    starts: list[int] = []
    position = first = len(HEADER)
    try:
        while value[position]:
            end = _block_end(value, position)
            if end == 0:
                return _reencode(value)
            starts.append(position - first)
            position = end
    except IndexError:
        raise TruncatedError(f"A window of {len(value)} bytes is not complete.") from None
    floor, end = _read_floor(value, position + 1)
    if end != len(value):
        raise TrailingBytesError(f"A window ends at byte {end}, its value at byte {len(value)}.")
    return value[first:position], starts, floor


def split_window(value: bytes) -> list[tuple[Behaviour, bytes]]:
    """Return the behaviours and blocks of a window, in order. Raises the errors of split_blocks and decode_block."""
    return [(decode_block(block), block) for block in split_blocks(value)]


def decode_block(block: bytes) -> Behaviour:
    """Decode a block written by encode_behaviour. Raises a subclass of DecodeError."""
    try:
        count, end, start = read_block_start(block, 0)
    except IndexError:
        raise TruncatedError(f"A block of {len(block)} bytes is not complete.") from None
    if count != 1 or end != len(block):
        raise UndecodableError(f"A block of {len(block)} bytes does not hold exactly one behaviour.")
    behaviour: Behaviour
    behaviour, position = read_record(_PLAN, block, start)
    if position != end:
        raise TrailingBytesError(f"A behaviour ends at byte {position}, its block at byte {end}.")
    return behaviour


def block_head(block: bytes) -> tuple[str, int, int]:
    """Return event_id, occurred_at and offset of a block, at a third of the cost of decode_block.

    Raises a subclass of DecodeError.
    """
    # They are the first fields of the schema, which a test ensures.
    try:
        _, _, position = read_block_start(block, 0)
        length, position = read_long(block, position)
        if length < 0:
            raise UndecodableError("The event_id of a block has a negative length.")
        event_id = block[position : position + length].decode()
        offset, position = read_long(block, position + length)
        occurred_at, _ = read_long(block, position)
    except IndexError:
        raise TruncatedError(f"A block of {len(block)} bytes is not complete.") from None
    except UnicodeDecodeError:
        raise UndecodableError("The event_id of a block is not UTF-8.") from None
    return event_id, occurred_at, offset


def split_body(body: bytes) -> list[bytes]:
    """Split concatenated blocks, as passed to join_window. Raises the same errors as read_window."""
    return [body[start:end] for start, end in pairwise([*block_starts(body), len(body)])]


def block_starts(body: bytes) -> list[int]:
    """Return the start of each block in concatenated blocks. Raises the same errors as read_window."""
    starts = []
    position = 0
    while position < len(body):
        starts.append(position)
        position = block_end(body, position)
    return starts


def block_end(body: bytes, start: int) -> int:
    """Return the end of the block at `start` in concatenated blocks. Raises the same errors as read_window."""
    try:
        end = _block_end(body, start)
    except IndexError:
        end = 0
    if not start < end <= len(body):
        raise TruncatedError(f"Blocks of {len(body)} bytes are not complete.")
    return end


def block_outcome(block: bytes) -> float | None:
    """Return y of a block, at a fifth of the cost of decode_block. Raises a subclass of DecodeError."""
    # Skips event_id, two longs, three strings and value. A test ensures that this is the schema's order.
    try:
        _, _, position = read_block_start(block, 0)
        position = _skip_string(block, position)
        while block[position] > 0x7F:  # offset
            position += 1
        position += 1
        while block[position] > 0x7F:  # occurred_at
            position += 1
        position = _skip_string(block, position + 1)
        position = _skip_string(block, position)
        position = _skip_string(block, position)
        position += 9 if block[position] else 1
        return _double(block, position + 1)[0] if block[position] else None
    except (IndexError, struct.error):
        raise TruncatedError(f"A block of {len(block)} bytes is not complete.") from None


def _skip_string(block: bytes, position: int) -> int:
    length = block[position]
    if length < 0x80:
        return position + 1 + (length >> 1)
    length, position = read_long(block, position)
    if length < 0:
        raise UndecodableError("A string of a block has a negative length.")
    return position + length


def _block_end(value: bytes, position: int) -> int:
    # Fast path for sizes of one or two bytes, nearly all sizes. Called for each of up to fifty behaviours of a window.
    low, high = value[position + 1], value[position + 2]
    if value[position] == 1 and not low & 1:
        if low < 0x80:
            return position + 2 + (low >> 1)
        if high < 0x80:
            return position + 3 + ((low & 0x7F | high << 7) >> 1)
    count, end, _ = read_block_start(value, position)
    return end if count == 1 and end is not None else 0


def _write_floor(floor: Floor) -> bytes:
    return b"".join([_PRESENT, write_long(floor[0]), _PRESENT, write_long(floor[1])])


def _read_floor(value: bytes, position: int) -> tuple[Floor | None, int]:
    if value.startswith(_NO_FLOOR, position):
        return None, position + len(_NO_FLOOR)
    try:
        time_ms, position = _read_present(value, position)
        offset, position = _read_present(value, position)
    except IndexError:
        raise TruncatedError(f"A window of {len(value)} bytes is not complete.") from None
    return (time_ms, offset), position


def _read_present(value: bytes, position: int) -> tuple[int, int]:
    branch, position = read_long(value, position)
    number, position = read_long(value, position)
    if branch != 1:
        raise UndecodableError("A window's floor lacks its time or its offset.")
    return number, position


def _reencode(value: bytes) -> tuple[bytes, list[int], Floor | None]:
    window = _codec.decode(value)
    time_ms, offset = window.floor_occurred_at, window.floor_offset
    floor = None if time_ms is None or offset is None else (time_ms, offset)
    body = b"".join([encode_behaviour(behaviour) for behaviour in window.behaviours])
    return body, block_starts(body), floor
