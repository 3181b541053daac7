"""Encoded texts as padded tensors, filled by NumPy without a Python loop over tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.tokens import EncodedText


@dataclass(frozen=True, slots=True)
class TextBatch:
    """N texts, right-padded to T tokens: three int64 tensors of shape (N, T)."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    @property
    def padded_tokens(self) -> int:
        """N * T, the number of tokens that the forward pass processes."""
        return self.input_ids.numel()

    def to(self, device: torch.device) -> "TextBatch":
        """Copy to a device, asynchronously if the memory is pinned."""
        if self.input_ids.device == device:
            return self
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "TextBatch":
        """Copy into page-locked memory, which a GPU reads without the CPU."""
        return self._map(lambda tensor: tensor.pin_memory())

    def rows(self, start: int, stop: int) -> "TextBatch":
        """Return a slice of the rows as views."""
        return self._map(lambda tensor: tensor[start:stop])

    def select(self, rows: Sequence[int]) -> "TextBatch":
        """Return a copy of the given rows."""
        return self._map(lambda tensor: tensor[list(rows)])

    def _map(self, change: Callable[[Tensor], Tensor]) -> "TextBatch":
        return TextBatch(change(self.input_ids), change(self.attention_mask), change(self.token_type_ids))


def to_tensors(texts: Sequence[EncodedText], *, pad_id: int, multiple: int = 1) -> TextBatch:
    """Pad texts to the longest one, rounded up to a multiple of tokens.

    texts: N >= 1 encoded texts. multiple: 8 on a GPU, whose matrix units process tokens in groups of eight.
    """
    tokens = np.fromiter((text.tokens for text in texts), np.int64, len(texts))  # (N,)
    first = np.fromiter((text.first_segment_tokens for text in texts), np.int64, len(texts))  # (N,)
    width = -(-int(tokens.max()) // multiple) * multiple
    place = np.arange(width)  # (T,)
    mask = place < tokens[:, None]  # (N, T)
    ids = np.full(mask.shape, pad_id, np.int64)
    ids[mask] = np.frombuffer(b"".join([text.ids for text in texts]), np.int32)
    types = mask & (place >= first[:, None])
    return TextBatch(
        torch.from_numpy(ids),
        torch.from_numpy(mask.astype(np.int64)),
        torch.from_numpy(types.astype(np.int64)),
    )


def batches_of_similar_length(tokens: NDArray[np.int64], batch_tokens: int) -> list[list[int]]:
    """Split rows into batches of similar length, shortest first; return the row indices of each batch.

    tokens: int64 (N,), the length of each row. A batch has at most batch_tokens tokens with padding, or one row.
    """
    batches: list[list[int]] = []
    for row in np.argsort(tokens, kind="stable").tolist():
        if batches and (len(batches[-1]) + 1) * tokens[row] <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
