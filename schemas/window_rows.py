"""Fields of many behaviours at once, read by numpy from the blocks of windows, at a fiftieth of decode_block's cost.

Blocks that are of an unusual form, or broken, are left to decode_block, which says what is wrong with them.
Source: Avro specification, "Binary encoding"; the blocks are those of schemas.window_state.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

_NUMBER_BYTES = 8  # a longer number is unusual
_TWO_BYTE_SIZE = 1 << 13
_ENDS = np.uint64(0x8080808080808080)
_PAIRS = np.uint64(0x007F007F007F007F), np.uint64(0x7F007F007F007F00), np.uint64(1)
_QUADS = np.uint64(0x00003FFF00003FFF), np.uint64(0x3FFF00003FFF0000), np.uint64(2)
_OCTET = np.uint64(0x000000000FFFFFFF), np.uint64(0x0FFFFFFF00000000), np.uint64(4)
_ONE = np.uint64(1)


class UnusualError(ValueError):
    """Blocks are not of the form that nearly all have."""


class Rows(NamedTuple):
    """N behaviours, in the order of their blocks.

    offset, occurred_at: int64 (N,). starts, ends: places of action, item_id and item_text in a row, int64 (N,).
    value, y, z: float64 (N,), NaN where unknown; has_value, has_y, has_z: bool (N,).
    """

    offset: NDArray[np.int64]
    occurred_at: NDArray[np.int64]
    starts: Places
    ends: Places
    value: NDArray[np.float64]
    has_value: NDArray[np.bool_]
    y: NDArray[np.float64]
    has_y: NDArray[np.bool_]
    z: NDArray[np.float64]
    has_z: NDArray[np.bool_]


def read_rows(body: bytes, blocks: Sequence[int] | Places) -> Rows:
    """Read the blocks that lie in a row in body; blocks: where each starts, at least one.

    Raises UnusualError.
    """
    starts = np.asarray(blocks, np.int64)
    buffer = _Buffer(body)
    try:
        return _read(buffer, starts, np.append(starts[1:], len(body)))
    except IndexError:
        raise UnusualError("a block is not complete") from None


def _read(buffer: "_Buffer", starts: Places, ends: Places) -> Rows:
    # The order of the schema: event_id, offset, occurred_at, action, item_id, item_text, value, y, z.
    if (ends - starts >= _TWO_BYTE_SIZE).any():
        raise UnusualError("a block is long")
    at = starts + 2 + (buffer.bytes[starts + 1] > 0x7F)  # past the count and the size
    at = buffer.past_string(at)
    offset, at = buffer.longs(at)
    occurred_at, at = buffer.longs(at)
    words = at
    for _ in ("action", "item_id", "item_text"):
        at = buffer.past_string(at)
    words_end = at
    value, has_value, at = buffer.doubles(at)
    y, has_y, at = buffer.doubles(at)
    z, has_z, at = buffer.doubles(at)
    if (at != ends).any():
        raise UnusualError("a block does not end where it says")
    return Rows(offset, occurred_at, words, words_end, value, has_value, y, has_y, z, has_z)


class _Buffer:
    """Bytes, and what begins at each of them as a number of eight bytes."""

    def __init__(self, body: bytes) -> None:
        padded = body + bytes(_NUMBER_BYTES)
        self.bytes = np.frombuffer(padded, np.uint8)
        self._words = np.ndarray((len(body) + 1,), "<u8", padded, strides=(1,))
        self._doubles = np.ndarray((len(body) + 1,), "<f8", padded, strides=(1,))

    def past_string(self, at: Places) -> Places:
        """Return where the strings end that begin at these places."""
        length = self.bytes[at]
        if (length > 0x7F).any():
            longs, start = self.longs(at)
            if (longs < 0).any():
                raise UnusualError("a string of negative length")
            return start + longs
        if (length & 1).any():
            raise UnusualError("a string of negative length")
        return at + 1 + (length >> 1)

    def longs(self, at: Places) -> tuple[NDArray[np.int64], Places]:
        """Return the numbers at these places, and where they end."""
        word: NDArray[np.uint64] = self._words[at]
        ends = ~word & _ENDS
        if not ends.all():
            raise UnusualError("a number of more than eight bytes")
        mask = ends ^ (ends - _ONE)  # all bits up to the lowest that ends the number
        word = word & mask & ~_ENDS
        for even, odd, shift in (_PAIRS, _QUADS, _OCTET):
            word = word & even | (word & odd) >> shift
        number = (word >> _ONE).astype(np.int64) ^ -(word & _ONE).astype(np.int64)
        return number, at + (np.bitwise_count(mask) >> 3)

    def doubles(self, at: Places) -> tuple[NDArray[np.float64], NDArray[np.bool_], Places]:
        """Return the optional doubles at these places, NaN where there is none; which there are; where they end."""
        branch = self.bytes[at]
        there = branch == 2
        if not (there | (branch == 0)).all():
            raise UnusualError("a branch of a union that it has not")
        if not there.any():
            return np.full(len(at), np.nan), there, at + 1
        after = at + 1
        return np.where(there, self._doubles[after], np.nan), there, after + (there * 8)
