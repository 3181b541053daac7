"""Decodes fields of many behaviours at once with numpy, at a fiftieth of decode_block's cost.

Blocks in an uncommon form and corrupt blocks are not decoded here; decode_block decodes them or reports the error.
Source: Avro specification, "Binary encoding"; the blocks are those of schemas.window_state.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

_NUMBER_BYTES = 8  # longer varints are not supported
_TWO_BYTE_SIZE = 1 << 13
_FINAL_BITS = np.uint64(0x8080808080808080)
_PAIRS = np.uint64(0x007F007F007F007F), np.uint64(0x7F007F007F007F00), np.uint64(1)
_QUADS = np.uint64(0x00003FFF00003FFF), np.uint64(0x3FFF00003FFF0000), np.uint64(2)
_OCTET = np.uint64(0x000000000FFFFFFF), np.uint64(0x0FFFFFFF00000000), np.uint64(4)
_ONE = np.uint64(1)


class FastPathError(ValueError):
    """A block cannot be decoded by read_rows; use decode_block."""


class Rows(NamedTuple):
    """N behaviours, in the order of their blocks.

    offset, occurred_at: int64 (N,). starts, ends: int64 (N,), the range of bytes with action, item_id and item_text.
    value, y, z: float64 (N,), NaN if unknown; has_value, has_y, has_z: bool (N,).
    """

    offset: NDArray[np.int64]
    occurred_at: NDArray[np.int64]
    starts: Indices
    ends: Indices
    value: NDArray[np.float64]
    has_value: NDArray[np.bool_]
    y: NDArray[np.float64]
    has_y: NDArray[np.bool_]
    z: NDArray[np.float64]
    has_z: NDArray[np.bool_]


def read_rows(body: bytes, blocks: Sequence[int] | Indices) -> Rows:
    """Decode the concatenated blocks of body. blocks: the start of each, at least one.

    Raises FastPathError.
    """
    starts = np.asarray(blocks, np.int64)
    buffer = _Buffer(body)
    try:
        return _read(buffer, starts, np.append(starts[1:], len(body)))
    except IndexError:
        raise FastPathError("a block is not complete") from None


def _read(buffer: "_Buffer", starts: Indices, ends: Indices) -> Rows:
    # Field order of the schema: event_id, offset, occurred_at, action, item_id, item_text, value, y, z.
    if (ends - starts >= _TWO_BYTE_SIZE).any():
        raise FastPathError("a block is too long")
    at = starts + 2 + (buffer.bytes[starts + 1] > 0x7F)  # skip the count and the size
    at = buffer.skip_strings(at)
    offset, at = buffer.longs(at)
    occurred_at, at = buffer.longs(at)
    strings_start = at
    for _ in ("action", "item_id", "item_text"):
        at = buffer.skip_strings(at)
    strings_end = at
    value, has_value, at = buffer.doubles(at)
    y, has_y, at = buffer.doubles(at)
    z, has_z, at = buffer.doubles(at)
    if (at != ends).any():
        raise FastPathError("a block does not end at its stated size")
    return Rows(offset, occurred_at, strings_start, strings_end, value, has_value, y, has_y, z, has_z)


class _Buffer:
    """A byte string, and the eight-byte number that starts at each of its bytes."""

    def __init__(self, body: bytes) -> None:
        padded = body + bytes(_NUMBER_BYTES)
        self.bytes = np.frombuffer(padded, np.uint8)
        self._words = np.ndarray((len(body) + 1,), "<u8", padded, strides=(1,))
        self._doubles = np.ndarray((len(body) + 1,), "<f8", padded, strides=(1,))

    def skip_strings(self, at: Indices) -> Indices:
        """Return the end of the string that starts at each index."""
        length = self.bytes[at]
        if (length > 0x7F).any():
            longs, start = self.longs(at)
            if (longs < 0).any():
                raise FastPathError("a string of negative length")
            return start + longs
        if (length & 1).any():
            raise FastPathError("a string of negative length")
        return at + 1 + (length >> 1)

    def longs(self, at: Indices) -> tuple[NDArray[np.int64], Indices]:
        """Return the varint at each index, and its end."""
        word: NDArray[np.uint64] = self._words[at]
        ends = ~word & _FINAL_BITS
        if not ends.all():
            raise FastPathError("a varint of more than eight bytes")
        mask = ends ^ (ends - _ONE)  # all bits up to the lowest final byte
        word = word & mask & ~_FINAL_BITS
        for even, odd, shift in (_PAIRS, _QUADS, _OCTET):
            word = word & even | (word & odd) >> shift
        number = (word >> _ONE).astype(np.int64) ^ -(word & _ONE).astype(np.int64)
        return number, at + (np.bitwise_count(mask) >> 3)

    def doubles(self, at: Indices) -> tuple[NDArray[np.float64], NDArray[np.bool_], Indices]:
        """Return the optional doubles at these indices, NaN if null; whether they are present; and their ends."""
        branch = self.bytes[at]
        present = branch == 2
        if not (present | (branch == 0)).all():
            raise FastPathError("an unknown union branch")
        if not present.any():
            return np.full(len(at), np.nan), present, at + 1
        after = at + 1
        return np.where(present, self._doubles[after], np.nan), present, after + (present * 8)
