"""An LRU cache of text vectors by text key, on a model's device.

Its memory starts with a few thousand rows and doubles up to the limit. Vectors are stored in float16, to which
model.behaviour_encoder rounds them; sums over them are float32.
"""

import logging
import threading
from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.features.keys import NO_KEY
from model.forward import is_out_of_memory

log = logging.getLogger(__name__)

_FIRST_ROWS = 4_096
# A full table evicts a 64th of its rows at once, because finding the oldest rows takes a pass over all.
_EVICTED_SHARE = 64


class Lookup(NamedTuple):
    """The result of a look-up of U keys.

    vectors: float32 (U, d). norms: float32 (U,), Euclidean norms. Both are on the device and undefined where missing.
    missing: int64, indices of the keys that are not in the table.
    """

    vectors: Tensor
    norms: Tensor
    missing: NDArray[np.int64]


class CachedText(NamedTuple):
    """A text in the table: its key, and its token ids as in model.tokens.Piece.ids."""

    key: int
    ids: bytes


class VectorTable:
    """A table of text vectors. Thread-safe if all threads use it in inference mode.

    width: dimension of the vectors. capacity: the maximum number of vectors; lowered if the device runs out of memory.
    hits, misses: counts of looked-up keys found and not found. made: count of vectors passed to put().
    """

    def __init__(self, width: int, capacity: int, device: torch.device) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity} must be at least 1")
        self.capacity = capacity
        self._lock = threading.Lock()
        self._rows: dict[int, int] = {}  # by key
        self._free: list[int] = []
        self._keys = np.zeros(0, np.uint64)  # (C,), NO_KEY in free rows
        self._ids: list[bytes] = []  # (C,)
        self._used = np.zeros(0, np.int64)  # (C,), logical time of the last use
        self._now = 0
        self._vectors = torch.empty((0, width), dtype=torch.float16, device=device)
        self._norms = torch.empty(0, device=device)
        self.hits = self.misses = self.made = 0

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, keys: NDArray[np.uint64]) -> Lookup:
        """Return copies of the vectors of distinct keys, uint64 (U,)."""
        with self._lock:
            rows = np.fromiter(map(self._rows.get, keys.tolist(), repeat(-1)), np.int64, len(keys))
            present = rows >= 0
            self._now += 1
            self._used[rows[present]] = self._now
            missing = np.flatnonzero(~present)
            self.misses += len(missing)
            self.hits += len(keys) - len(missing)
            if not len(missing):
                places = torch.from_numpy(rows).to(self._vectors.device)
                return Lookup(self._vectors[places].float(), self._norms[places], missing)
            vectors = self._norms.new_empty((len(keys), self._vectors.shape[1]))
            norms = self._norms.new_empty(len(keys))
            if present.any():
                into = torch.from_numpy(np.flatnonzero(present)).to(vectors.device)
                places = torch.from_numpy(rows[present]).to(vectors.device)
                vectors[into], norms[into] = self._vectors[places].float(), self._norms[places]
        return Lookup(vectors, norms, missing)

    def put(
        self,
        keys: NDArray[np.uint64],
        ids: Sequence[bytes],
        vectors: Tensor,
        norms: Tensor,
        *,
        oldest: bool = False,
    ) -> None:
        """Store the vectors of distinct keys.

        vectors: float32 (n, d), with values that float16 represents exactly. norms: (n,). Non-finite vectors and the
        vector of NO_KEY are not stored. If not all fit, the last ones are stored.
        oldest: whether the vectors count as used before all others, not as used now.
        """
        self.made += len(keys)
        good = (torch.isfinite(norms).cpu().numpy() & (keys != NO_KEY)).nonzero()[0]
        with self._lock:
            new = [place for place in good.tolist() if int(keys[place]) not in self._rows][-self.capacity :]
            if not new:
                return
            self._make_room(len(new))
            new = new[-len(self._free) :]
            rows = [self._free.pop() for _ in new]
            self._now += 1
            self._keys[rows], self._used[rows] = keys[new], -self._now if oldest else self._now
            self._rows.update(zip(keys[new].tolist(), rows, strict=True))
            for place, row in zip(new, rows, strict=True):
                self._ids[row] = ids[place]
            self._vectors[rows], self._norms[rows] = vectors[new].half(), norms[new]

    def newest(self, limit: int) -> list[CachedText]:
        """Return at most limit texts, most recently used first."""
        with self._lock:
            rows = np.flatnonzero(self._keys != NO_KEY)
            order = rows[np.argsort(-self._used[rows], kind="stable")][:limit]
            ids = self._ids
            return [
                CachedText(key, ids[row])
                for key, row in zip(self._keys[order].tolist(), order.tolist(), strict=True)
            ]

    def _make_room(self, rows: int) -> None:
        """Provide free rows, as many as possible up to `rows`. The table stops growing when device memory is full."""
        while len(self._free) < rows and len(self._keys) < self.capacity:
            try:
                self._grow()
            except Exception as exc:
                if not len(self._keys) or not is_out_of_memory(exc):
                    raise
                self.capacity = len(self._keys)
                log.warning("Out of device memory: the cache of text vectors is limited to %d", self.capacity)
        lacking = rows - len(self._free)
        if lacking > 0:
            self._drop(max(lacking, self.capacity // _EVICTED_SHARE))

    def _grow(self) -> None:
        """Double the number of rows, up to the limit."""
        before = len(self._keys)
        size = min(self.capacity, max(2 * before, _FIRST_ROWS))
        vectors, norms = self._vectors.new_empty((size, self._vectors.shape[1])), self._norms.new_empty(size)
        vectors[:before], norms[:before] = self._vectors, self._norms
        self._vectors, self._norms = vectors, norms
        more = size - before
        self._keys = np.append(self._keys, np.full(more, NO_KEY, np.uint64))
        self._used = np.append(self._used, np.zeros(more, np.int64))
        self._ids += [b""] * more
        self._free += range(size - 1, before - 1, -1)

    def _drop(self, rows: int) -> None:
        """Evict the least recently used rows."""
        taken = np.flatnonzero(self._keys != NO_KEY)
        if rows < len(taken):
            taken = taken[np.argpartition(self._used[taken], rows - 1)[:rows]]
        for key in self._keys[taken].tolist():
            del self._rows[key]
        for row in taken.tolist():
            self._ids[row] = b""
        self._keys[taken] = NO_KEY
        self._free += taken.tolist()
