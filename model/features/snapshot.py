"""Snapshots: the inputs of the feature function except vectors, stored with a score and later with its label.

A later model has other text vectors, items or features. It can be trained and evaluated on the same snapshots, because
the features are a function of the snapshot, the text vectors and the items.

    encoding   version, counts and scalars; the item's state; the user's totals; the past, column by column
"""

import math
import struct
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.features.history import PAST, History
from model.features.items import NO_ITEMS, UNKNOWN_ITEM, ItemFacts, ItemTable
from model.features.numbers import numbers
from model.features.state import USER_BYTES, ItemState, UserTotals

SNAPSHOT_VERSION = 1
_HEAD = struct.Struct("<BBHqQQd")
_COLUMNS = tuple((name, PAST.fields[name][0]) for name in PAST.names or ()) if PAST.fields else ()


class SnapshotError(ValueError):
    """The bytes are not a snapshot, or have an unknown version."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A behaviour being scored and the state at that time.

    at_ms: its event time. item_key, text_key: keys from model.features.keys. item: the state of its item.
    mu: the partition's mean grade. totals: the user's totals. past: array of PAST, (H,), the user's window before the
    behaviour, oldest first.
    """

    at_ms: int
    item_key: int
    text_key: int
    item: ItemState
    mu: float
    totals: UserTotals
    past: NDArray[np.void]

    def encode(self) -> bytes:
        """Return the encoding: about 160 bytes, and 36 bytes per past behaviour."""
        item = self.item.encode()
        head = _HEAD.pack(
            SNAPSHOT_VERSION, len(item), len(self.past), self.at_ms, self.item_key, self.text_key, self.mu
        )
        columns = [self.past[name].tobytes() for name, _ in _COLUMNS]
        return b"".join((head, item, self.totals.encode(), *columns))

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Decode the result of encode(). Raises SnapshotError."""
        try:
            version, item_bytes, behaviours, at_ms, item_key, text_key, mu = _HEAD.unpack_from(raw)
            if version != SNAPSHOT_VERSION:
                raise SnapshotError(f"snapshot version {version}; supported is {SNAPSHOT_VERSION}")
            start = _HEAD.size + item_bytes
            item = ItemState.decode(raw[_HEAD.size : start])
            totals = UserTotals.decode(raw[start : start + USER_BYTES])
            past = _past(raw, start + USER_BYTES, behaviours)
            _check_finite(item, totals, mu, past)
        except (struct.error, IndexError) as exc:
            raise SnapshotError(f"the value of {len(raw)} bytes is not a snapshot: {exc}") from exc
        return cls(at_ms, item_key, text_key, item, mu, totals, past)


def _past(raw: bytes, start: int, behaviours: int) -> NDArray[np.void]:
    if len(raw) != start + behaviours * PAST.itemsize:
        raise SnapshotError(f"a snapshot of {behaviours} behaviours cannot have {len(raw)} bytes")
    past = np.zeros(behaviours, PAST)
    for name, kind in _COLUMNS:
        past[name] = np.frombuffer(raw, kind, behaviours, start)
        start += behaviours * kind.itemsize
    return past


def _check_finite(item: ItemState, totals: UserTotals, mu: float, past: NDArray[np.void]) -> None:
    """Raise SnapshotError for values that would make a feature NaN: one such row would break the training."""
    known = past[~np.isnan(past["residual"])]
    columns_are = all(np.isfinite(known[name]).all() for name in ("y", "z", "residual"))
    if not (columns_are and all(map(math.isfinite, (mu, *item[:-1], *item.recent, *totals)))):
        raise SnapshotError("the snapshot has values that are not finite")


def numbers_of(
    snapshot: Snapshot,
    cosines: NDArray[np.floating],
    facts: ItemFacts = UNKNOWN_ITEM,
    table: ItemTable = NO_ITEMS,
) -> NDArray[np.float32]:
    """Return the values of FEATURES, float32 (F,).

    cosines: (H,), of each past behaviour's text with the text of the behaviour being scored.
    facts: the checkpoint's data of the item. table: the checkpoint's items, for the items of the past.
    Raises ValueError if the number of cosines differs from the number of behaviours.
    """
    return numbers(
        snapshot.at_ms,
        snapshot.item,
        snapshot.mu,
        History.of(snapshot.past),
        snapshot.totals,
        cosines,
        facts,
        table,
    )
