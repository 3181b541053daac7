"""Avro binary encoding by plan, always in the current schema of each record.

Source: Avro specification, "Binary encoding".
"""

import struct
from collections.abc import Callable, Iterator
from operator import attrgetter, index
from typing import Any, TypeAlias

from schemas.errors import EncodeError
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

Writer: TypeAlias = Callable[[Any], bytes]

_INT_MAX = 2**31 - 1
_LONG_MAX = 2**63 - 1

_double = struct.Struct("<d").pack

# Precomputed varints of 14 bits, as the last bytes of a number and as its lower bytes: a timestamp in
# milliseconds takes three look-ups instead of six loop iterations.
_BITS = 14
_MASK = (1 << _BITS) - 1
_LAST = [bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80, n >> 7]) for n in range(1 << _BITS)]
_LOWER = [bytes([n & 0x7F | 0x80, n >> 7 | 0x80]) for n in range(1 << _BITS)]
# Lengths: zigzag maps non-negative numbers to even ones.
_LENGTH = _LAST[::2]
_LENGTHS = len(_LENGTH)


_INLINE = frozenset({STRING, LONG, DOUBLE, BOOLEAN})


def prepare_writer(plan: RecordPlan) -> Writer:
    """Return a function that encodes one record of the plan's class, without a header.

    The function raises EncodeError if a value does not fit the schema; the message names the record type, never
    the value.
    """
    names, steps = zip(*_flat(plan), strict=True)
    get = attrgetter(*names)
    # attrgetter of a single name returns the bare value.
    values_of: Callable[[Any], tuple[Any, ...]] = get if len(names) > 1 else lambda record: (get(record),)

    def write(record: Any) -> bytes:
        try:
            return _fields(steps, values_of(record))
        except UnicodeEncodeError:
            # Not chained: the error contains the text.
            raise EncodeError(
                f"A string of {plan.name} has a lone surrogate, which UTF-8 cannot encode."
            ) from None
        except (AttributeError, TypeError, OverflowError, struct.error) as exc:
            raise EncodeError(f"A field of {plan.name} does not fit its schema: {exc}.") from exc

    return write


def prepare_map_writer() -> Callable[[dict[str, str]], bytes]:
    """Return a function that encodes a map of strings, without a header; it raises UnicodeEncodeError."""
    return _map(_string)


def _flat(plan: RecordPlan, prefix: str = "") -> Iterator[tuple[str, int | Writer]]:
    # Fields of a nested record are read by path ("source.topic"): Avro adds no bytes around a record.
    for name, (kind, inner) in zip(plan.names, plan.steps, strict=True):
        if kind == RECORD:
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind if kind in _INLINE else _writer((kind, inner))


def _fields(steps: tuple[Any, ...], values: tuple[Any, ...]) -> bytes:
    # steps: a kind that is inlined here, or the function that encodes the value.
    # One flat loop with the frequent kinds inlined: a function call per field would cost a third more.
    parts: list[bytes] = []
    append = parts.append
    for step, value in zip(steps, values):  # noqa: B905 equal lengths; strict=True costs a tenth more time
        if step == STRING:
            text = value.encode()
            size = len(text)
            append(_LENGTH[size] if size < _LENGTHS else _varint(size << 1))
            append(text)
        elif step == LONG:
            if type(value) is not int:
                # A NumPy integer would silently overflow in the shift.
                value = index(value)
            number = (value << 1) ^ (value >> 63)
            if number <= _MASK:
                append(_LAST[number])
            elif number < 1 << 42:
                append(_LOWER[number & _MASK])
                number >>= _BITS
                if number > _MASK:
                    append(_LOWER[number & _MASK])
                    number >>= _BITS
                append(_LAST[number])
            else:
                append(write_long(value))
        elif step == DOUBLE:
            append(_double(value))
        elif step == BOOLEAN:
            append(b"\x01" if value else b"\x00")
        else:
            append(step(value))
    return b"".join(parts)


def _writer(step: Step) -> Writer:
    kind, inner = step
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    if kind == RECORD:
        return prepare_writer(inner)
    return _COLLECTIONS[kind](_writer(inner))


def _string(value: str) -> bytes:
    text = value.encode()
    size = len(text)
    return (_LENGTH[size] if size < _LENGTHS else _varint(size << 1)) + text


def write_long(value: int) -> bytes:
    """Encode a long as a zigzag varint. Raises OverflowError beyond 64 bits, TypeError if value is no integer."""
    if type(value) is not int:
        # A NumPy integer would silently overflow in the shift.
        value = index(value)
    number = (value << 1) ^ (value >> 63)
    if number <= _MASK:
        return _LAST[number]
    if not -_LONG_MAX - 1 <= value <= _LONG_MAX:
        raise OverflowError("a long has 64 bits at most")
    return _varint(number)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _int(value: int) -> bytes:
    if not -_INT_MAX - 1 <= value <= _INT_MAX:
        raise OverflowError("an int has 32 bits at most")
    return write_long(value)


def _boolean(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def _bytes(value: bytes) -> bytes:
    return write_long(len(value)) + value


def _optional(write: Writer) -> Writer:
    return lambda value: b"\x00" if value is None else b"\x02" + write(value)


def _array(write: Writer) -> Writer:
    def array(values: list[Any]) -> bytes:
        if not values:
            return b"\x00"
        return b"".join([write_long(len(values)), *[write(value) for value in values], b"\x00"])

    return array


def _map(write: Writer) -> Writer:
    def entries_of(entries: dict[str, Any]) -> bytes:
        if not entries:
            return b"\x00"
        written = [_string(key) + write(value) for key, value in entries.items()]
        return b"".join([write_long(len(entries)), *written, b"\x00"])

    return entries_of


_PRIMITIVES: dict[int, Writer] = {
    STRING: _string,
    LONG: write_long,
    INT: _int,
    DOUBLE: _double,
    BOOLEAN: _boolean,
    BYTES: _bytes,
}
_COLLECTIONS: dict[int, Callable[[Writer], Writer]] = {OPTIONAL: _optional, ARRAY: _array, MAP: _map}
