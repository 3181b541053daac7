"""Rows of a late model as columns: what a forward pass needs beside the vectors of texts. Pure numpy.

A row's past stands the newest first, as the network reads it, in as many columns as the longest window has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.features.batch import Pasts
from model.features.history import PAST, PAST_COLUMNS, History
from model.features.items import ItemTable
from model.features.keys import NO_KEY
from model.jobs import LATE_TOKENS, LateText


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Inputs of N rows with at most H behaviours before them; text and item are places in keys and item_rows.

    text, item: int64 (N,). past_text, past_item: int64 (N, H); -1 and 0 where there is no behaviour.
    past: float32 (N, H, 4): known, grade, residual, log gap.
    """

    text: Tensor
    item: Tensor
    past_text: Tensor
    past_item: Tensor
    past: Tensor

    def pinned(self) -> "Columns":
        """Copy into page-locked memory."""
        return Columns(*(tensor.pin_memory() for tensor in self._all()))

    def to(self, device: torch.device) -> "Columns":
        """Copy to a device, without waiting where the memory is pinned."""
        return Columns(*(tensor.to(device, non_blocking=True) for tensor in self._all()))

    def _all(self) -> tuple[Tensor, ...]:
        return self.text, self.item, self.past_text, self.past_item, self.past


@dataclass(frozen=True, slots=True, eq=False)
class LateBatch:
    """N rows, packed.

    pasts: the windows in a line. keys: uint64 (U,), the distinct texts; first: int64 (U,), where each is met first: a
    row's own text, or, from N on, a behaviour of that line. item_rows: int64 (V,), the distinct rows of the table.
    unmapped: int64, rows whose item the table lacks.
    """

    texts: Sequence[LateText]
    table: ItemTable
    pasts: Pasts
    keys: NDArray[np.uint64]
    first: NDArray[np.int64]
    item_rows: NDArray[np.int64]
    unmapped: NDArray[np.int64]
    columns: Columns

    @classmethod
    def of(cls, texts: Sequence[LateText], table: ItemTable) -> "LateBatch":
        """Pack at least one text, for a checkpoint that knows these items."""
        snapshots = [text.snapshot for text in texts]
        # Not by np.concatenate: it compares the fields of every two.
        records = np.frombuffer(b"".join([snapshot.past.tobytes() for snapshot in snapshots]), PAST)  # (S,)
        lengths = np.fromiter((len(snapshot.past) for snapshot in snapshots), np.int64, len(texts))
        own = np.array([(s.text_key, s.item_key) for s in snapshots], np.uint64)  # (N, 2)
        keys, first, text = np.unique(
            np.concatenate([own[:, 0], records["text"]]), return_index=True, return_inverse=True
        )
        rows = table.rows_of(np.concatenate([own[:, 1], records["item"]]))  # (N + S,)
        item_rows, item = np.unique(rows, return_inverse=True)
        at_ms = np.fromiter((snapshot.at_ms for snapshot in snapshots), np.int64, len(texts))
        pasts = Pasts(lengths, History.of(records), rows[len(texts) :])
        columns = _columns(at_ms, pasts, text, item)
        unmapped = np.flatnonzero((rows[: len(texts)] < 0) & (own[:, 1] != NO_KEY))
        return cls(texts, table, pasts, keys, first, item_rows, unmapped, columns)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def padded_tokens(self) -> int:
        """What the rows cost."""
        return LATE_TOKENS * len(self)

    def pinned(self) -> "LateBatch":
        """Copy what goes to a GPU into page-locked memory."""
        return self._with(self.columns.pinned())

    def rows(self, start: int, stop: int) -> "LateBatch":
        """Return a slice of the rows; they need no texts but their own."""
        if (start, stop) == (0, len(self)):
            return self
        return LateBatch.of(self.texts[start:stop], self.table)

    def select(self, rows: Sequence[int]) -> "LateBatch":
        """Return these rows alone."""
        return LateBatch.of([self.texts[row] for row in rows], self.table)

    def _with(self, columns: Columns) -> "LateBatch":
        return LateBatch(
            self.texts,
            self.table,
            self.pasts,
            self.keys,
            self.first,
            self.item_rows,
            self.unmapped,
            columns,
        )


def _columns(
    at_ms: NDArray[np.int64], pasts: Pasts, text: NDArray[np.int64], item: NDArray[np.int64]
) -> Columns:
    """at_ms: (N,). text, item: (N + S,), of the rows, then of the pasts."""
    count, history = len(at_ms), pasts.history
    place = np.arange(int(pasts.lengths.max(initial=0)))  # (H,)
    there = place < pasts.lengths[:, None]  # (N, H)
    line = (np.cumsum(pasts.lengths)[:, None] - 1 - place)[there]  # (S,), of the pasts, each the newest first
    past_text, past_item = np.full(there.shape, -1, np.int64), np.zeros(there.shape, np.int64)
    past = np.zeros((*there.shape, PAST_COLUMNS), np.float32)
    past_text[there], past_item[there] = text[count:][line], item[count:][line]
    gaps = np.log1p(np.maximum(np.repeat(at_ms / 1000, pasts.lengths) - history.at_s, 0))
    for column, values in enumerate((history.known, history.z, history.residual, gaps)):
        past[there, column] = values[line]
    return Columns(
        torch.from_numpy(text[:count].astype(np.int64)),
        torch.from_numpy(item[:count].astype(np.int64)),
        torch.from_numpy(past_text),
        torch.from_numpy(past_item),
        torch.from_numpy(past),
    )
