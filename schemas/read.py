"""Avro binary decoding by plan, for values written with exactly the current schema.

Strict and bounded: memory is allocated for a declared length only after that many bytes are known to exist,
so a declared length of 2**40 costs nothing.
Source: Avro specification, "Binary encoding".
"""

import struct
from collections.abc import Callable
from typing import Any

from schemas.errors import DecodeError, TooLargeError, TrailingBytesError, TruncatedError, UndecodableError
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
)

MAX_ITEMS = 65_536
"""Maximum number of items in an array."""
MAX_ENTRIES = 1_024
"""Maximum number of entries in a map. An entry takes about 200 bytes of memory, but as few as 3 encoded."""

_WHOLE = frozenset({LONG, INT})
_double = struct.Struct("<d").unpack_from


def prepare_reader(plan: RecordPlan, start: int) -> Callable[[bytes], Any]:
    """Return a function that decodes the single record between byte start and the end of a value.

    The function raises only TruncatedError, TrailingBytesError, TooLargeError or UndecodableError.
    """

    def read(data: bytes) -> Any:
        record, end = read_record(plan, data, start)
        if end != len(data):
            raise TrailingBytesError(f"{plan.name} ends at byte {end}, but the value has {len(data)} bytes.")
        return record

    return read


def read_record(plan: RecordPlan, data: bytes, start: int) -> tuple[Any, int]:
    """Decode the record at byte start; return it and its end. Raises the same errors as prepare_reader's function."""
    try:
        return _record(plan, data, start)
    except (IndexError, struct.error):
        raise TruncatedError(f"{plan.name} is incomplete: the value ends after {len(data)} bytes.") from None
    except UnicodeDecodeError:
        # Not chained: the error contains the user's text.
        raise UndecodableError(f"A string of {plan.name} is not UTF-8.") from None


def _record(plan: RecordPlan, data: bytes, position: int) -> tuple[Any, int]:  # noqa: C901
    # One flat loop with the frequent kinds inlined: a function call per field would cost a third more.
    values: list[Any] = []
    append = values.append
    size = len(data)
    for kind, inner in plan.steps:
        if kind == STRING:
            length = data[position]
            position += 1
            if length > 0x7F:
                length, position = _varint(data, position, length)
            end = position + (length >> 1)
            if length & 1 or end > size:
                raise _bad_length(length, end, size)
            append(data[position:end].decode())
            position = end
        elif kind in _WHOLE:
            number = data[position]
            position += 1
            if number > 0x7F:
                number, position = _varint(data, position, number)
            if kind == INT and number >> 32:
                raise UndecodableError("An int has more than 32 bits.")
            append((number >> 1) ^ -(number & 1))
        elif kind == DOUBLE:
            append(_double(data, position)[0])
            position += 8
        elif kind == OPTIONAL:
            branch = data[position]
            position += 1
            if branch == 2:
                value, position = _READERS[inner[0]](inner[1], data, position)
                append(value)
            elif branch == 0:
                append(None)
            else:
                raise _bad_branch(branch)
        elif kind == MAP and data[position] == 0:
            append({})
            position += 1
        else:
            value, position = _READERS[kind](inner, data, position)
            append(value)
    return plan.build(*values), position


def _value(step: Step, data: bytes, position: int) -> tuple[Any, int]:
    kind, inner = step
    return _READERS[kind](inner, data, position)


def _read_string(_inner: None, data: bytes, position: int) -> tuple[str, int]:
    raw, position = _read_bytes(None, data, position)
    return raw.decode(), position


def _read_bytes(_inner: None, data: bytes, position: int) -> tuple[bytes, int]:
    length, position = _unsigned(data, position)
    end = position + (length >> 1)
    if length & 1 or end > len(data):
        raise _bad_length(length, end, len(data))
    return data[position:end], end


def read_long(data: bytes, position: int) -> tuple[int, int]:
    """Decode a long; return it and its end. Raises UndecodableError beyond 64 bits, IndexError at the end of data."""
    number, position = _unsigned(data, position)
    return (number >> 1) ^ -(number & 1), position


def _read_int(_inner: None, data: bytes, position: int) -> tuple[int, int]:
    number, position = _unsigned(data, position)
    if number >> 32:
        raise UndecodableError("An int has more than 32 bits.")
    return (number >> 1) ^ -(number & 1), position


def _read_double(_inner: None, data: bytes, position: int) -> tuple[float, int]:
    return _double(data, position)[0], position + 8


def _read_boolean(_inner: None, data: bytes, position: int) -> tuple[bool, int]:
    byte = data[position]
    if byte > 1:
        raise UndecodableError(f"A boolean is {byte}; 0 and 1 are allowed.")
    return byte == 1, position + 1


def _read_optional(inner: Step, data: bytes, position: int) -> tuple[Any, int]:
    branch = data[position]
    if branch == 0:
        return None, position + 1
    if branch != 2:
        raise _bad_branch(branch)
    return _value(inner, data, position + 1)


def _read_array(inner: Step, data: bytes, position: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    count, block_end, position = read_block_start(data, position)
    while count:
        check_items(len(items) + count, MAX_ITEMS)
        for _ in range(count):
            item, position = _value(inner, data, position)
            items.append(item)
        check_block_end(block_end, position)
        count, block_end, position = read_block_start(data, position)
    return items, position


def _read_map(inner: Step, data: bytes, position: int) -> tuple[dict[str, Any], int]:
    entries: dict[str, Any] = {}
    total = 0
    count, block_end, position = read_block_start(data, position)
    while count:
        total += count
        check_items(total, MAX_ENTRIES)
        for _ in range(count):
            key, position = _read_string(None, data, position)
            entries[key], position = _value(inner, data, position)
        check_block_end(block_end, position)
        count, block_end, position = read_block_start(data, position)
    return entries, position


def read_block_start(data: bytes, position: int) -> tuple[int, int | None, int]:
    """Decode the header of the next block of an array or map; return (items, end or None, start of the items).

    end is None if the block does not declare its size.
    Raises UndecodableError if the size is negative, IndexError at the end of data.
    """
    count, position = read_long(data, position)
    if count >= 0:
        return count, None, position
    # A negative count is followed by the block's size in bytes.
    size, position = read_long(data, position)
    if size < 0:
        raise UndecodableError("A block of an array or map has a negative size.")
    return -count, position + size, position


def check_block_end(block_end: int | None, position: int) -> None:
    """Raise UndecodableError if a block does not end where its declared size puts its end."""
    if block_end is not None and block_end != position:
        raise UndecodableError("The declared size of a block of an array or map is wrong.")


def check_items(items: int, most: int) -> None:
    """Raise TooLargeError if an array or map has more than most items."""
    if items > most:
        raise TooLargeError(f"An array or map has at least {items} items; at most {most} are allowed.")


def _unsigned(data: bytes, position: int) -> tuple[int, int]:
    number = data[position]
    position += 1
    return _varint(data, position, number) if number > 0x7F else (number, position)


def _varint(data: bytes, position: int, first: int) -> tuple[int, int]:
    # The result is still zigzag-encoded: the caller decodes it, or uses the lowest bit as the sign.
    number = first & 0x7F
    shift = 7
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise UndecodableError("A number has more than 64 bits.")
    if number >> 64:
        raise UndecodableError("A number has more than 64 bits.")
    return number, position


def _bad_length(length: int, end: int, size: int) -> DecodeError:
    if length & 1:
        return UndecodableError("A string or bytes field has a negative length.")
    return TruncatedError(f"A string or bytes field ends at byte {end}, but the value has {size} bytes.")


def _bad_branch(branch: int) -> DecodeError:
    return UndecodableError(f"A union starts with the byte {branch}; 0 and 2 are allowed.")


_READERS: dict[int, Callable[[Any, bytes, int], tuple[Any, int]]] = {
    STRING: _read_string,
    LONG: lambda _inner, data, position: read_long(data, position),
    DOUBLE: _read_double,
    BOOLEAN: _read_boolean,
    INT: _read_int,
    BYTES: _read_bytes,
    OPTIONAL: _read_optional,
    MAP: _read_map,
    ARRAY: _read_array,
    RECORD: _record,
}
