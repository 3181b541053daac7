"""Batches of a late model: the inputs of a forward pass except the text vectors, computed with NumPy.

Past behaviours are stored newest first, as the network reads them, padded to the length of the longest window.
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
    """Inputs of N rows with at most H past behaviours. Texts and items are indices into keys and item_rows.

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
        """Copy to a device, asynchronously if the memory is pinned."""
        return Columns(*(tensor.to(device, non_blocking=True) for tensor in self._all()))

    def _all(self) -> tuple[Tensor, ...]:
        return self.text, self.item, self.past_text, self.past_item, self.past


@dataclass(frozen=True, slots=True, eq=False)
class LateBatch:
    """N packed rows.

    pasts: the concatenated windows. keys: uint64 (U,), the distinct text keys.
    first: int64 (U,), the first occurrence of each text: below N the row whose own text it is, from N on N plus the
    index of a behaviour in pasts. item_rows: int64 (V,), the distinct rows of the item table.
    unmapped: int64, indices of the rows whose item is not in the table.
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
        """Pack at least one text. table: the items of the model's checkpoint."""
        snapshots = [text.snapshot for text in texts]
        # np.concatenate is slower: it compares the fields of each pair of arrays.
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
        """The cost of the rows in tokens."""
        return LATE_TOKENS * len(self)

    def pinned(self) -> "LateBatch":
        """Copy the columns into page-locked memory."""
        return self._with(self.columns.pinned())

    def rows(self, start: int, stop: int) -> "LateBatch":
        """Return a slice of the rows, with only their own texts."""
        if (start, stop) == (0, len(self)):
            return self
        return LateBatch.of(self.texts[start:stop], self.table)

    def select(self, rows: Sequence[int]) -> "LateBatch":
        """Return the given rows, with only their own texts."""
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
    """Return the columns. at_ms: (N,). text, item: (N + S,), indices of the rows, then of the past behaviours."""
    count, history = len(at_ms), pasts.history
    position = np.arange(int(pasts.lengths.max(initial=0)))  # (H,)
    present = position < pasts.lengths[:, None]  # (N, H)
    newest_first = (np.cumsum(pasts.lengths)[:, None] - 1 - position)[present]  # (S,), per window
    past_text, past_item = np.full(present.shape, -1, np.int64), np.zeros(present.shape, np.int64)
    past = np.zeros((*present.shape, PAST_COLUMNS), np.float32)
    past_text[present], past_item[present] = text[count:][newest_first], item[count:][newest_first]
    gaps = np.log1p(np.maximum(np.repeat(at_ms / 1000, pasts.lengths) - history.at_s, 0))
    for column, values in enumerate((history.known, history.z, history.residual, gaps)):
        past[present, column] = values[newest_first]
    return Columns(
        torch.from_numpy(text[:count].astype(np.int64)),
        torch.from_numpy(item[:count].astype(np.int64)),
        torch.from_numpy(past_text),
        torch.from_numpy(past_item),
        torch.from_numpy(past),
    )
