"""Batches of rows for a late network, and the vector tables that they index."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.late import LateInputs
from trainer.feature_rows import FeatureRows


@dataclass(frozen=True, slots=True, eq=False)
class LateRows:
    """All rows as tensors, and the vector tables. y, z: float32 (N,). texts: (U, d). items: (V, 32)."""

    inputs: LateInputs
    y: Tensor
    z: Tensor
    texts: Tensor
    items: Tensor

    @classmethod
    def of(cls, rows: FeatureRows, texts: NDArray[np.float32]) -> "LateRows":
        """Wrap rows and text vectors as tensors that share their memory."""
        inputs = LateInputs(
            torch.from_numpy(rows.numbers),
            torch.from_numpy(rows.text),
            torch.from_numpy(rows.item),
            torch.from_numpy(rows.past_text),
            torch.from_numpy(rows.past_item),
            torch.from_numpy(rows.past),
        )
        y, z = torch.from_numpy(rows.y), torch.from_numpy(rows.z)
        return cls(inputs, y, z, torch.from_numpy(texts), torch.from_numpy(rows.item_vectors))

    def batch(self, rows: Tensor, behaviours: int | None = None) -> LateInputs:
        """Return some rows as a batch.

        rows: int64 (B,). behaviours: the number of newest behaviours of the history; None for all.
        History columns that are padding in every row of the batch are dropped.
        """
        inputs = self.inputs
        past_text = inputs.past_text[rows, :behaviours].long()  # (B, H)
        needed = (past_text >= 0).any(0).nonzero()
        longest = int(needed.max()) + 1 if len(needed) else 0
        return LateInputs(
            inputs.numbers[rows],
            inputs.text[rows].long(),
            inputs.item[rows].long(),
            past_text[:, :longest],
            inputs.past_item[rows, :longest].long(),
            inputs.past[rows, :longest],
        )


class OwnTables(NamedTuple):
    """A batch with tables of the rows that it uses. texts: (u, d). items: (v, 32). Each row is distinct."""

    inputs: LateInputs
    texts: Tensor
    items: Tensor


def own_tables(batch: LateInputs, texts: Tensor, items: Tensor) -> OwnTables:
    """Gather the distinct text and item rows that a batch uses, so that the network projects no others.

    texts: (U, d). items: (V, 32). The scores are the same. Gradients flow into the gathered rows of the tables; those
    of the other rows are zero in any case.
    """
    text, own_text, past_text = _distinct(batch.text, batch.past_text)
    item, own_item, past_item = _distinct(batch.item, batch.past_item)
    inputs = batch._replace(text=own_text, past_text=past_text, item=own_item, past_item=past_item)
    return OwnTables(inputs, texts[text], items[item])


def _distinct(own: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distinct indices, (n,), and the positions of own and past in them; -1 stays -1.

    own: (B,). past: (B, H).
    """
    rows, places = torch.unique(torch.cat([own, past.flatten()]), return_inverse=True)
    absent = int(rows[0] < 0)  # ascending, so -1 comes first
    places -= absent
    return rows[absent:], places[: len(own)], places[len(own) :].view_as(past)
