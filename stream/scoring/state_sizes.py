"""Estimates the memory size of decoded state values in less than a microsecond each.

A test compares them with `stream.exactly_once.units.sizes.deep_bytes`, which visits every object.
"""

from sys import getsizeof

from schemas.state_records import (
    DueList,
    ItemSums,
    PartitionSums,
    PendingLabel,
    ScoredSnapshot,
    Signals,
    UserSums,
    Witnesses,
)
from stream.scoring.labels.state import EstimatesState, ItemsState, PendingState
from stream.scoring.window_columns import OFFSET_BYTES, ROW_BYTES
from stream.scoring.windows import CACHED_PIECES, Window

_WINDOW_BYTES = 440
_PIECE_BYTES = 215  # in addition to its text and token ids, which are about as long as its block

_PENDING_BYTES = 275
_DUE_ENTRY_BYTES = 92
_SIGNAL_BYTES = 150
_TURN_BYTES = 160
_LIST_BYTES = 96
_CLOCK_BYTES = 250
_ESTIMATE_BYTES = 170
_SNAPSHOT_BYTES = 75
_ITEM_RATE_BYTES = 130
_ITEM_SUMS_BYTES = 330
_USER_SUMS_BYTES = 420
_PARTITION_SUMS_BYTES = 110

# Each table's share of the memory for decoded values. Windows are the largest and are read for every event. So are the
# users' sums, which are stored in the items table.
SHARES = {"windows": 0.67, "pending": 0.12, "estimates": 0.09, "items": 0.12}


def window_bytes(window: Window | None) -> int:
    """Return the bytes of a window including all words and columns that it may cache, since they are added later."""
    if window is None:
        return 0
    count = len(window)
    if not count:
        return _WINDOW_BYTES
    body_bytes = window.size_bytes
    columns_bytes = count * (ROW_BYTES + OFFSET_BYTES)
    words_bytes = min(CACHED_PIECES, count) * (_PIECE_BYTES + body_bytes // count)
    return _WINDOW_BYTES + count + body_bytes + columns_bytes + words_bytes


def pending_bytes(value: PendingState | None) -> int:
    """Return the bytes of a value of the pending table."""
    if value is None:
        return 0
    if isinstance(value, PendingLabel):
        texts = (value.history, value.target, value.item_id)
        return _PENDING_BYTES + sum(getsizeof(text) for text in texts if text)
    if isinstance(value, DueList):
        if not value.entries:
            return _LIST_BYTES
        return _LIST_BYTES + len(value.entries) * (_DUE_ENTRY_BYTES + getsizeof(value.entries[0].key))
    if isinstance(value, Signals):
        return _LIST_BYTES + _SIGNAL_BYTES * len(value.signals)
    if isinstance(value, Witnesses):
        return _LIST_BYTES + _TURN_BYTES * len(value.turns)
    return _CLOCK_BYTES


def estimates_bytes(value: EstimatesState | None) -> int:
    """Return the bytes of a value of the estimates table."""
    if value is None:
        return 0
    if isinstance(value, ScoredSnapshot):
        return _SNAPSHOT_BYTES + len(value.snapshot)
    return _ESTIMATE_BYTES


def items_bytes(value: ItemsState | None) -> int:
    """Return the bytes of a value of the items table."""
    if value is None:
        return 0
    if isinstance(value, UserSums):
        return _USER_SUMS_BYTES + len(value.residuals)
    if isinstance(value, ItemSums):
        return _ITEM_SUMS_BYTES + len(value.recent)
    return _PARTITION_SUMS_BYTES if isinstance(value, PartitionSums) else _ITEM_RATE_BYTES
