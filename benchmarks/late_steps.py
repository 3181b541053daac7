"""Cost of a training step of the late network with many items: `python -m benchmarks.late_steps`.

Uses synthetic tables of 25,000 items, each with its own text, and the item vectors of sixteen fits, for all and for
unseen items. Batches of 512 rows refer to items with a Zipf distribution, as in a shop. The peer is the same step with
both tables projected as a whole.
"""

import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.features.history import PAST_COLUMNS
from model.features.items import ITEM_DIMENSIONS
from model.features.names import FEATURES
from model.late import LateInputs, LateNetwork, LateSettings, late_loss
from trainer.config import LateTraining
from trainer.late_batches import own_tables

ITEMS = 25_000
_FITS = 16
_STEPS = 5
_KNOBS = LateTraining()


def main() -> None:
    """Print the time of both variants in milliseconds."""
    torch.set_num_threads(1)  # as in trainer.late_job
    torch.manual_seed(0)
    texts = torch.randn(ITEMS, LateSettings().text_width)
    items = torch.randn(2 * _FITS * ITEMS + 1, ITEM_DIMENSIONS)
    whole, own = (_step_ms(texts, items, gathered=gathered) for gathered in (False, True))
    sys.stdout.write(
        f"{ITEMS:,} items, {len(items):,} item vectors: whole tables {whole:,.0f} ms a step, "
        f"rows of the batch {own:,.0f} ms, {whole / own:.1f} times as fast\n"
    )


def _step_ms(texts: Tensor, items: Tensor, *, gathered: bool) -> float:
    network, random = LateNetwork(LateSettings()).train(), np.random.default_rng(0)
    optimiser = torch.optim.AdamW(network.vectors_parameters(), 1e-4)
    took = []
    for _ in range(_STEPS):
        batch, y = _batch(random), torch.from_numpy(random.integers(0, 2, _KNOBS.batch_rows)).float()
        began_s = time.process_time()
        logits = network(*own_tables(batch, texts, items)) if gathered else network(batch, texts, items)
        optimiser.zero_grad()
        late_loss(logits, y, y, network.settings).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        took.append((time.process_time() - began_s) * 1e3)
    return min(took)


def _batch(random: np.random.Generator) -> LateInputs:
    rows, behaviours = _KNOBS.batch_rows, _KNOBS.behaviours
    item, past_item = _drawn(random, rows), _drawn(random, rows, behaviours)
    fits = random.integers(0, 2 * _FITS, rows)  # the fit of each row
    return LateInputs(
        torch.from_numpy(random.normal(size=(rows, len(FEATURES))).astype(np.float32)),
        torch.from_numpy(item),
        torch.from_numpy(item + ITEMS * fits + 1),
        torch.from_numpy(past_item),
        torch.from_numpy(past_item + ITEMS * fits[:, None] + 1),
        torch.from_numpy(random.normal(size=(rows, behaviours, PAST_COLUMNS)).astype(np.float32)),
    )


def _drawn(random: np.random.Generator, *shape: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = (ITEMS ** random.random(shape)).astype(np.int64) - 1
    return found


if __name__ == "__main__":
    main()
