"""The bare forward passes over batches that a worker packed: `python -m benchmarks.passes FILE FROM TO`.

The same batches, model, type and threads as in the worker, one pass after the other, and nothing else. Prints how
many texts they hold and the seconds they took. FROM and TO, on the machine's monotonic clock: which of the batches.
"""

import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.children import die_with_parent
from model.batches import TextBatch
from model.loading import joint
from stream.assembly import load_champion
from stream.settings import Settings


class Pass(NamedTuple):
    """A batch, and when the worker's pass over it ended, in seconds of the machine's monotonic clock."""

    ended_s: float
    batch: TextBatch


def save(passes: list[Pass], file: Path) -> None:
    """Write passes into a file."""
    rows = [(p.ended_s, p.batch.input_ids, p.batch.attention_mask, p.batch.token_type_ids) for p in passes]
    torch.save(rows, file)


def load(file: Path) -> list[Pass]:
    """Read what save() wrote."""
    return [Pass(ended_s, TextBatch(*tensors)) for ended_s, *tensors in torch.load(file)]


def main() -> None:
    """Time the passes."""
    die_with_parent()
    file, began_s, ended_s = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    batches = [one.batch for one in load(file) if began_s < one.ended_s <= ended_s]
    model = joint(load_champion(Settings()))
    model.score(batches[0])
    started = time.perf_counter()
    for batch in batches:
        model.score(batch)
    print(sum(map(len, batches)), time.perf_counter() - started)


if __name__ == "__main__":
    main()
