"""How much memory decoded values of the state take: estimates that cost less than a microsecond. Pure.

A test holds them against `stream.exactly_once.sizes.deep_bytes`, which walks over everything.
"""

from sys import getsizeof

from schemas.records import DueList, Estimate, ItemRate, PendingLabel, Signals
from stream.labels.state import PendingState
from stream.windows import Window

_WINDOW_BYTES = 400
_ENTRY_BYTES = 740  # an entry's objects: place, behaviour, block, words, token ids
_BYTES_PER_BLOCK_BYTE = 3  # its texts stand in the block, the behaviour and the words, and as token ids

_PENDING_BYTES = 275
_DUE_ENTRY_BYTES = 92
_SIGNAL_BYTES = 150
_LIST_BYTES = 96
_CLOCK_BYTES = 250
_ESTIMATE_BYTES = 170
_ITEM_RATE_BYTES = 130

# What a table gets of the memory for decoded values: windows are the largest and are read for every event.
SHARES = {"windows": 0.75, "pending": 0.15, "estimates": 0.05, "items": 0.05}


def window_bytes(window: Window | None) -> int:
    """Return the bytes of a window, its words and token ids included."""
    if window is None:
        return 0
    return _WINDOW_BYTES + _ENTRY_BYTES * len(window.entries) + _BYTES_PER_BLOCK_BYTE * window.size_bytes


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
    return _CLOCK_BYTES


def estimate_bytes(value: Estimate | None) -> int:
    """Return the bytes of a value of the estimates table."""
    return 0 if value is None else _ESTIMATE_BYTES


def item_rate_bytes(value: ItemRate | None) -> int:
    """Return the bytes of a value of the items table."""
    return 0 if value is None else _ITEM_RATE_BYTES
