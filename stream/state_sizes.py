"""How much memory decoded values of the state take: estimates that cost less than a microsecond. Pure.

A test holds them against `stream.exactly_once.sizes.deep_bytes`, which walks over everything.
"""

from sys import getsizeof

from schemas.records import DueList, Estimate, ItemRate, PendingLabel, Signals, Witnesses
from stream.labels.state import PendingState
from stream.windows import KEPT_PIECES, Window

_WINDOW_BYTES = 320
_PIECE_BYTES = 215  # beside its text and token ids, which are about as long as its block

_PENDING_BYTES = 275
_DUE_ENTRY_BYTES = 92
_SIGNAL_BYTES = 150
_TURN_BYTES = 160
_LIST_BYTES = 96
_CLOCK_BYTES = 250
_ESTIMATE_BYTES = 170
_ITEM_RATE_BYTES = 130

# What a table gets of the memory for decoded values: windows are the largest and are read for every event.
SHARES = {"windows": 0.75, "pending": 0.15, "estimates": 0.05, "items": 0.05}


def window_bytes(window: Window | None) -> int:
    """Return the bytes of a window with all the words that it may keep: they come and go while it is cached."""
    if window is None:
        return 0
    count = len(window)
    if not count:
        return _WINDOW_BYTES
    body_bytes = window.size_bytes
    return _WINDOW_BYTES + count + body_bytes + min(KEPT_PIECES, count) * (_PIECE_BYTES + body_bytes // count)


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


def estimate_bytes(value: Estimate | None) -> int:
    """Return the bytes of a value of the estimates table."""
    return 0 if value is None else _ESTIMATE_BYTES


def item_rate_bytes(value: ItemRate | None) -> int:
    """Return the bytes of a value of the items table."""
    return 0 if value is None else _ITEM_RATE_BYTES
