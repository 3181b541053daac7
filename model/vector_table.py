"""Text vectors on the device of a model, by text key: bounded, the least recently used out.

The memory grows with what is kept: it starts with a few thousand rows and doubles up to the limit. Vectors are kept in
float16, as model.behaviour_encoder makes them; sums over them are float32.
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
_ROOM = 64  # a full table gives up a 64th at once: looking for the oldest costs a pass over all


class Found(NamedTuple):
    """The vectors of some keys.

    vectors: float32 (U, d); norms: float32 (U,), their lengths; both on the device, and undefined where missing.
    missing: int64, places of the keys that the table lacks.
    """

    vectors: Tensor
    norms: Tensor
    missing: NDArray[np.int64]


class Kept(NamedTuple):
    """A text that the table holds: its key, and its ids as model.tokens.Piece has them."""

    key: int
    ids: bytes


class VectorTable:
    """At most `most` vectors of one width. Safe to share between threads, as long as each has inference mode on.

    most: the limit, lowered when the device has no memory for more. hits, misses: keys asked for so far that were
    there, and that were not.
    """

    def __init__(self, width: int, most: int, device: torch.device) -> None:
        if most < 1:
            raise ValueError(f"most={most} must be at least 1")
        self.most = most
        self._lock = threading.Lock()
        self._rows: dict[int, int] = {}  # by key
        self._free: list[int] = []
        self._keys = np.zeros(0, np.uint64)  # (C,), of each row; NO_KEY where it is free
        self._ids: list[bytes] = []  # (C,)
        self._used = np.zeros(0, np.int64)  # (C,), when each row was used last
        self._now = 0
        self._vectors = torch.empty((0, width), dtype=torch.float16, device=device)
        self._norms = torch.empty(0, device=device)
        self.hits = self.misses = self.made = 0

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, keys: NDArray[np.uint64]) -> Found:
        """Return copies of the vectors of distinct keys, uint64 (U,), and which are missing."""
        with self._lock:
            rows = np.fromiter(map(self._rows.get, keys.tolist(), repeat(-1)), np.int64, len(keys))
            there = rows >= 0
            self._now += 1
            self._used[rows[there]] = self._now
            missing = np.flatnonzero(~there)
            self.misses += len(missing)
            self.hits += len(keys) - len(missing)
            if not len(missing):
                places = torch.from_numpy(rows).to(self._vectors.device)
                return Found(self._vectors[places].float(), self._norms[places], missing)
            vectors = self._norms.new_empty((len(keys), self._vectors.shape[1]))
            norms = self._norms.new_empty(len(keys))
            if there.any():
                into = torch.from_numpy(np.flatnonzero(there)).to(vectors.device)
                places = torch.from_numpy(rows[there]).to(vectors.device)
                vectors[into], norms[into] = self._vectors[places].float(), self._norms[places]
        return Found(vectors, norms, missing)

    def put(
        self,
        keys: NDArray[np.uint64],
        ids: Sequence[bytes],
        vectors: Tensor,
        norms: Tensor,
        *,
        oldest: bool = False,
    ) -> None:
        """Keep the vectors of distinct keys, float32 (n, d) that float16 holds, and their lengths, (n,).

        A vector that is not finite is not kept, nor one of NO_KEY; of more than fit, the last.
        oldest: whether they count as used before all that is there, and not as used now.
        """
        self.made += len(keys)
        good = (torch.isfinite(norms).cpu().numpy() & (keys != NO_KEY)).nonzero()[0]
        with self._lock:
            new = [place for place in good.tolist() if int(keys[place]) not in self._rows][-self.most :]
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

    def newest(self, most: int) -> list[Kept]:
        """Return the texts used last, the newest first."""
        with self._lock:
            rows = np.flatnonzero(self._keys != NO_KEY)
            order = rows[np.argsort(-self._used[rows], kind="stable")][:most]
            ids = self._ids
            return [
                Kept(key, ids[row])
                for key, row in zip(self._keys[order].tolist(), order.tolist(), strict=True)
            ]

    def _make_room(self, rows: int) -> None:
        """Have so many free rows, or as many as there can be; without memory on the device the table stays as it is."""
        while len(self._free) < rows and len(self._keys) < self.most:
            try:
                self._grow()
            except Exception as exc:
                if not len(self._keys) or not is_out_of_memory(exc):
                    raise
                self.most = len(self._keys)
                log.warning("No memory for more text vectors than %d: no more are kept", self.most)
        lacking = rows - len(self._free)
        if lacking > 0:
            self._drop(max(lacking, self.most // _ROOM))

    def _grow(self) -> None:
        """Double the memory, up to the limit."""
        before = len(self._keys)
        size = min(self.most, max(2 * before, _FIRST_ROWS))
        vectors, norms = self._vectors.new_empty((size, self._vectors.shape[1])), self._norms.new_empty(size)
        vectors[:before], norms[:before] = self._vectors, self._norms
        self._vectors, self._norms = vectors, norms
        more = size - before
        self._keys = np.append(self._keys, np.full(more, NO_KEY, np.uint64))
        self._used = np.append(self._used, np.zeros(more, np.int64))
        self._ids += [b""] * more
        self._free += range(size - 1, before - 1, -1)

    def _drop(self, rows: int) -> None:
        """Free the rows that were used longest ago."""
        taken = np.flatnonzero(self._keys != NO_KEY)
        if rows < len(taken):
            taken = taken[np.argpartition(self._used[taken], rows - 1)[:rows]]
        for key in self._keys[taken].tolist():
            del self._rows[key]
        for row in taken.tolist():
            self._ids[row] = b""
        self._keys[taken] = NO_KEY
        self._free += taken.tolist()
