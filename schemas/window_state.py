"""The value of the windows table: valid Avro (schema Window) to which a behaviour is added without the others.

Avro writes an array in any number of blocks and lets each say its own size in bytes. So a behaviour is encoded
once, as a block of one item, and a window is the header, its blocks, a zero and the floor (time and offset of
the newest behaviour that did not fit any more, each after its union's branch; 00 00 if there is none):

    C3 01 <fingerprint>  01 <size> <behaviour>  01 <size> <behaviour>  …  00  02 <time> 02 <offset>

(0x01 is the count -1: one item, and its size follows.) Thanks to the sizes a window is cut into its blocks
without decoding them, at a tenth of the cost. A block is bytes, and so a key for whatever is derived from it,
such as token ids.
Source: Avro specification, "Complex Types", arrays.
"""

import struct
from collections.abc import Iterable
from itertools import pairwise

from schemas.contracts import current
from schemas.errors import TrailingBytesError, TruncatedError, UndecodableError
from schemas.plan import plan
from schemas.read import read_block_start, read_long, read_record
from schemas.records import Behaviour, Window
from schemas.wire import Codec, single_object_header
from schemas.write import prepare_writer, write_long

HEADER = single_object_header(Window)
_ONE_ITEM = b"\x01"
_END = b"\x00"
_double = struct.Struct("<d").unpack_from
_PRESENT = b"\x02"  # the second branch of ["null", "long"]
_NO_FLOOR = b"\x00\x00"

Floor = tuple[int, int]
"""occurred_at and offset."""

_PLAN = plan(current(Window)["fields"][0]["type"]["items"])
_write_item = prepare_writer(_PLAN)
_codec = Codec(Window)


def encode_behaviour(behaviour: Behaviour) -> bytes:
    """A behaviour as a block of a window. Raises EncodeError if it does not fit the schema."""
    item = _write_item(behaviour)
    return _ONE_ITEM + write_long(len(item)) + item


def join_window(blocks: Iterable[bytes], floor: Floor | None = None) -> bytes:
    """The value of a window with these blocks, in this order, which the caller keeps by time and offset."""
    return b"".join([HEADER, *blocks, _END, _NO_FLOOR if floor is None else _write_floor(floor)])


def split_blocks(value: bytes) -> list[bytes]:
    """The blocks of a window, in order, without decoding them. Raises as read_window does."""
    return read_window(value)[0]


def read_window(value: bytes) -> tuple[list[bytes], Floor | None]:
    """The blocks of a window, in order, without decoding them, and its floor.

    What was written in an older schema, or not by join_window, is decoded and encoded anew.
    Raises a subclass of DecodeError if the value is no window.
    """
    body, starts, floor = read_body(value)
    return [body[start:end] for start, end in pairwise([*starts, len(body)])], floor


def read_body(value: bytes) -> tuple[bytes, list[int], Floor | None]:
    """The blocks of a window in a row, where each starts, and its floor; all else as read_window."""
    if not value.startswith(HEADER):
        return _rewritten(value)
    starts: list[int] = []
    position = first = len(HEADER)
    try:
        while value[position]:
            end = _block_end(value, position)
            if end == 0:
                return _rewritten(value)
            starts.append(position - first)
            position = end
    except IndexError:
        raise TruncatedError(f"A window of {len(value)} bytes is not complete.") from None
    floor, end = _read_floor(value, position + 1)
    if end != len(value):
        raise TrailingBytesError(f"A window ends at byte {end}, its value at byte {len(value)}.")
    return value[first:position], starts, floor


def split_window(value: bytes) -> list[tuple[Behaviour, bytes]]:
    """The behaviours of a window and their blocks, in order. Raises as split_blocks and decode_block do."""
    return [(decode_block(block), block) for block in split_blocks(value)]


def decode_block(block: bytes) -> Behaviour:
    """The behaviour that encode_behaviour made a block of. Raises a subclass of DecodeError."""
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
    """event_id, occurred_at and offset of a block: enough to order and to recognise, at a third of the cost.

    Raises a subclass of DecodeError.
    """
    # They are the first fields of the schema; a test holds it to that.
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
    """The blocks of a window that are joined in a row, as join_window takes them. Raises as read_window does."""
    return [body[start:end] for start, end in pairwise([*block_starts(body), len(body)])]


def block_starts(body: bytes) -> list[int]:
    """Where each block starts, in blocks joined in a row. Raises as read_window does."""
    starts = []
    position = 0
    while position < len(body):
        starts.append(position)
        position = block_end(body, position)
    return starts


def block_end(body: bytes, start: int) -> int:
    """Where the block ends that begins at start, in blocks joined in a row. Raises as read_window does."""
    try:
        end = _block_end(body, start)
    except IndexError:
        end = 0
    if not start < end <= len(body):
        raise TruncatedError(f"Blocks of {len(body)} bytes are not complete.")
    return end


def block_outcome(block: bytes) -> float | None:
    """The y of a block, read past what stands before it, at a fifth of the cost. Raises a subclass of DecodeError."""
    # A test holds it to the schema: three strings behind the event_id's and two longs, then value and y.
    try:
        _, _, position = read_block_start(block, 0)
        position = _past_string(block, position)
        while block[position] > 0x7F:  # offset
            position += 1
        position += 1
        while block[position] > 0x7F:  # occurred_at
            position += 1
        position = _past_string(block, position + 1)
        position = _past_string(block, position)
        position = _past_string(block, position)
        position += 9 if block[position] else 1
        return _double(block, position + 1)[0] if block[position] else None
    except (IndexError, struct.error):
        raise TruncatedError(f"A block of {len(block)} bytes is not complete.") from None


def _past_string(block: bytes, position: int) -> int:
    length = block[position]
    if length < 0x80:
        return position + 1 + (length >> 1)
    length, position = read_long(block, position)
    if length < 0:
        raise UndecodableError("A string of a block has a negative length.")
    return position + length


def _block_end(value: bytes, position: int) -> int:
    # Sizes of one or two bytes, which is nearly all of them, are read here: once for each of fifty behaviours.
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
        raise UndecodableError("Half of a window's floor is missing.")
    return number, position


def _rewritten(value: bytes) -> tuple[bytes, list[int], Floor | None]:
    window = _codec.decode(value)
    time_ms, offset = window.floor_occurred_at, window.floor_offset
    floor = None if time_ms is None or offset is None else (time_ms, offset)
    body = b"".join([encode_behaviour(behaviour) for behaviour in window.behaviours])
    return body, block_starts(body), floor
