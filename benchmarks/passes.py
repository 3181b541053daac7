"""Bare forward passes over batches recorded by a worker: `python -m benchmarks.passes FILE FROM TO`.

Repeats the passes in sequence with the worker's batches, model, dtype and threads. Prints the number of texts and the
seconds taken. FROM and TO select the batches by the end of their pass, on the machine's monotonic clock.
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
    """A batch and the end of the worker's pass over it, on the machine's monotonic clock, in seconds."""

    ended_s: float
    batch: TextBatch


def save(passes: list[Pass], file: Path) -> None:
    """Write passes to a file."""
    rows = [(p.ended_s, p.batch.input_ids, p.batch.attention_mask, p.batch.token_type_ids) for p in passes]
    torch.save(rows, file)


def load(file: Path) -> list[Pass]:
    """Read passes written by save()."""
    return [Pass(ended_s, TextBatch(*tensors)) for ended_s, *tensors in torch.load(file)]


def main() -> None:
    """Time the passes and print the result."""
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
