"""The columns of a window: its behaviours as numeric arrays, the input of a feature snapshot.

They are derived from the behaviours and from the residuals in the user's sums. They are stored as bytes: numpy reads
these without a copy, and inserting a behaviour or setting an outcome takes less than a microsecond.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.features.history import PAST, UNKNOWN
from model.features.keys import item_key, text_key
from model.features.learning import grade_of, user_mean
from schemas.state_records import Behaviour
from schemas.window_rows import Rows, read_rows
from stream.scoring.word_keys import WordKeys

NO_OUTCOME, NEGATIVE, POSITIVE = 0, 1, 2
POSITIVE_FROM = 0.5
ROW_BYTES = PAST.itemsize
OFFSET_BYTES = 8
_row = struct.Struct("<qQQfff").pack
_outcome = struct.Struct("<fff").pack
_OUTCOME_START = PAST.fields["y"][1] if PAST.fields else 0
_offset = struct.Struct("<q").pack
_RESIDUAL = np.dtype([("offset", "<i8"), ("residual", "<f4")])
_residuals = struct.Struct("<qf").iter_unpack


class Encoded(NamedTuple):
    """A user's encoded behaviours and the known residuals.

    body: at least one block. starts: the start of each block. residuals: as returned by Columns.residuals(); may lack
    some behaviours.
    """

    body: bytes
    starts: Sequence[int]
    residuals: bytes


@dataclass(slots=True)
class Columns:
    """H behaviours, oldest first; treat it as immutable.

    past: H records of PAST. offsets: H source offsets, int64.
    """

    past: bytes = b""
    offsets: bytes = b""

    @classmethod
    def of(cls, behaviours: Sequence[Behaviour], texts: Sequence[str], residuals: bytes) -> Self:
        """Build the columns. texts: without outcomes. residuals: as returned by residuals(); may lack behaviours."""
        known = dict(_residuals(residuals))
        past = [
            _row(
                one.occurred_at,
                item_key(one.item_id),
                text_key(text),
                UNKNOWN if one.y is None else one.y,
                UNKNOWN if one.y is None else grade_of(one.y, one.z),
                UNKNOWN if one.y is None else known.get(one.offset, UNKNOWN),
            )
            for one, text in zip(behaviours, texts, strict=True)
        ]
        return cls(b"".join(past), b"".join([_offset(one.offset) for one in behaviours]))

    @classmethod
    def of_many(cls, users: Sequence[Encoded], keys: WordKeys) -> list[tuple[Self, bytes]]:
        """Build the columns of several users at once, with the same result as of().

        Returns the columns and the outcome codes of each user, see outcome_code(). Raises FastPathError if a block
        can only be decoded by of().
        """
        body = b"".join([user.body for user in users])
        counts = [len(user.starts) for user in users]
        body_starts = np.repeat(np.cumsum([0, *(len(user.body) for user in users[:-1])]), counts)
        starts = body_starts + np.fromiter(chain.from_iterable(user.starts for user in users), np.int64)
        rows = read_rows(body, starts)
        past = np.empty(len(starts), PAST)
        past["at_ms"] = rows.occurred_at
        words = keys.of(body, starts.tolist(), rows)
        past["item"], past["text"] = words["item"], words["text"]
        past["y"] = np.where(rows.has_y, rows.y, UNKNOWN)
        past["z"] = np.where(rows.has_y, np.where(rows.has_z, rows.z, rows.y), UNKNOWN)
        past["residual"] = _residuals_of(users, counts, rows)
        raw, offsets = past.tobytes(), rows.offset.tobytes()
        outcome_codes = (rows.has_y + (rows.has_y & (rows.y >= POSITIVE_FROM)).astype(np.uint8)).tobytes()
        ends = list(accumulate(counts))
        return [
            (
                cls(
                    raw[(end - count) * ROW_BYTES : end * ROW_BYTES],
                    offsets[(end - count) * OFFSET_BYTES : end * OFFSET_BYTES],
                ),
                outcome_codes[end - count : end],
            )
            for count, end in zip(counts, ends, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.offsets) // OFFSET_BYTES

    def array(self, count: int) -> NDArray[np.void]:
        """Return the oldest `count` behaviours, read-only records of PAST (count,)."""
        return np.frombuffer(self.past, PAST, count)

    def with_behaviour(self, index: int, behaviour: Behaviour, text: str) -> Self:
        """Return the columns with a behaviour without an outcome inserted at an index."""
        row = _row(
            behaviour.occurred_at, item_key(behaviour.item_id), text_key(text), UNKNOWN, UNKNOWN, UNKNOWN
        )
        at, offset_at = index * ROW_BYTES, index * OFFSET_BYTES
        return type(self)(
            self.past[:at] + row + self.past[at:],
            self.offsets[:offset_at] + _offset(behaviour.offset) + self.offsets[offset_at:],
        )

    def with_outcome(self, index: int, y: float, z: float, residual: float) -> Self:
        """Return the columns with the outcome of the behaviour at an index set. z: its grade."""
        at = index * ROW_BYTES + _OUTCOME_START
        known = _outcome(y, z, residual)
        return type(self)(self.past[:at] + known + self.past[at + len(known) :], self.offsets)

    def without_oldest(self, count: int) -> Self:
        """Return the columns without the `count` oldest behaviours."""
        return type(self)(self.past[count * ROW_BYTES :], self.offsets[count * OFFSET_BYTES :])

    def known_mean(self, mu: float) -> float:
        """Return model.features.learning.known_mean of these behaviours."""
        past = self.array(len(self))
        residual = past["residual"]
        grades = past["z"][residual == residual].tolist()  # only NaN differs from itself
        return user_mean(math.fsum(grades), len(grades), mu)

    def residuals(self) -> bytes:
        """Return the known residuals, 12 bytes each: source offset as int64, residual as float32."""
        residual = self.array(len(self))["residual"]
        known = residual == residual
        packed = np.empty(np.count_nonzero(known), _RESIDUAL)
        packed["offset"] = np.frombuffer(self.offsets, np.int64)[known]
        packed["residual"] = residual[known]
        return packed.tobytes()


NO_COLUMNS = Columns()


def outcome_code(y: float | None) -> int:
    """Return the outcome code of y: NO_OUTCOME, NEGATIVE or POSITIVE."""
    if y is None:
        return NO_OUTCOME
    return POSITIVE if y >= POSITIVE_FROM else NEGATIVE


def _residuals_of(users: Sequence[Encoded], counts: Sequence[int], rows: Rows) -> NDArray[np.float32]:
    """Return the residual of each row, float32 (N,), NaN where unknown."""
    stored = np.frombuffer(b"".join([user.residuals for user in users]), _RESIDUAL)
    residual = np.full(len(rows.offset), UNKNOWN, np.float32)
    stored_counts = [len(user.residuals) // _RESIDUAL.itemsize for user in users]
    known_counts = np.add.reduceat(rows.has_y, np.cumsum([0, *counts[:-1]]), dtype=np.int64)
    # The common case: one residual per outcome, in the same order.
    if known_counts.tolist() == stored_counts and np.array_equal(rows.offset[rows.has_y], stored["offset"]):
        residual[rows.has_y] = stored["residual"]
        return residual
    first = 0
    for user, count in zip(users, counts, strict=True):
        of_user = dict(_residuals(user.residuals))
        for row in range(first, first + count):
            if rows.has_y[row]:
                residual[row] = of_user.get(int(rows.offset[row]), UNKNOWN)
        first += count
    return residual
