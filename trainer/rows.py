"""Data sources of the training loop: rows by index, as padded tensors."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batches import to_tensors
from model.tokens import BehaviourTokenizer, EncodedText
from trainer.augment import Augmentation, augment_rows
from trainer.dataset import Example, labels
from trainer.layers import Activations


class Rows(Protocol):
    """N rows. tokens: int64 (N,), the approximate length of each, for batches of similar length."""

    tokens: NDArray[np.int64]

    def batch(self, rows: Sequence[int], epoch: int) -> dict[str, Tensor]:
        """Return the network's inputs for these rows, and `labels` (and optionally `weights`) for the loss.

        The result is a function of rows and epoch.
        """
        ...


class TextRows:
    """Encoded texts with labels, float32 (N, 2); an unknown z is NaN."""

    def __init__(self, texts: Sequence[EncodedText], labels: NDArray[np.float32], *, pad_id: int) -> None:
        self.tokens = lengths(texts)
        self._texts = texts
        self._labels = labels
        self._pad_id = pad_id

    def batch(self, rows: Sequence[int], epoch: int) -> dict[str, Tensor]:  # noqa: ARG002 -- part of the protocol
        """See Rows."""
        inputs = network_inputs([self._texts[row] for row in rows], self._pad_id)
        return {**inputs, "labels": torch.from_numpy(self._labels[list(rows)])}


class AugmentedRows:
    """Examples with new augmentation in every epoch, encoded on demand."""

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: BehaviourTokenizer,
        augmentation: Augmentation,
        *,
        pad_id: int,
        seed: int,
    ) -> None:
        self._examples = examples
        self._tokenizer = tokenizer
        self._augmentation = augmentation
        self._pad_id = pad_id
        self._seed = seed
        self._labels = labels(examples)
        self.tokens = lengths(encode(examples, tokenizer))

    def batch(self, rows: Sequence[int], epoch: int) -> dict[str, Tensor]:
        """See Rows."""
        shown = augment_rows(self._examples, rows, self._augmentation, seed=self._seed, epoch=epoch)
        inputs = network_inputs(encode(shown, self._tokenizer), self._pad_id)
        return {**inputs, "labels": torch.from_numpy(self._labels[list(rows)])}


class ActivationRows:
    """Cached activations with labels. weights: float32 (N,), the number of examples per row."""

    def __init__(
        self,
        activations: Activations,
        labels: NDArray[np.float32],
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        self.tokens = np.diff(activations.starts)
        self._activations = activations
        self._labels = labels
        self._weights = None if weights is None else torch.from_numpy(weights / weights.mean())

    def batch(self, rows: Sequence[int], epoch: int) -> dict[str, Tensor]:  # noqa: ARG002 -- part of the protocol
        """See Rows."""
        chosen = list(rows)
        batch = {**self._activations.padded(rows), "labels": torch.from_numpy(self._labels[chosen])}
        return batch if self._weights is None else {**batch, "weights": self._weights[chosen]}


def encode(examples: Sequence[Example], tokenizer: BehaviourTokenizer) -> list[EncodedText]:
    """Encode the examples' texts, in their order."""
    return tokenizer.encode_texts([(example.history, example.target) for example in examples])


def lengths(texts: Sequence[EncodedText]) -> NDArray[np.int64]:
    """Return the number of tokens of each text, int64 (N,)."""
    return np.array([text.tokens for text in texts], dtype=np.int64)


def network_inputs(texts: Sequence[EncodedText], pad_id: int) -> dict[str, Tensor]:
    """Return the network's inputs by name, padded to the longest text of the batch: int64 (B, T)."""
    batch = to_tensors(texts, pad_id=pad_id)
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,
    }
