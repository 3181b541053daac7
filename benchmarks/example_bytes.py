"""Size of an example on its topic: `python -m benchmarks.example_bytes`.

Examples of MovieLens-100K in time order, as a worker with a late champion writes them (windows of 50, no history in
words), with Sway's codec and compression. A producer compresses one batch at a time as an LZ4 frame: the records of a
unit for one partition. The sizes are therefore measured for batches of one partition with different record counts.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from benchmarks.rows import Row
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, LabeledExample, Outcome
from schemas.wire import Codec
from sway.base_model import minilm_dir
from sway.demo import movielens
from sway.demo.first_model import partition_of
from trainer.dataset import Example, label_in_order

AIM = 2_048.0
_BATCHES = (1, 8, 128, 512)
# Examples within so many bytes of the longest have a full window: titles vary, and a behaviour takes 36 bytes.
_FULL_WITHIN = 36 * 3
# Overhead of a record in a batch: length, attributes, deltas of time and offset, lengths and headers.
_RECORD_BYTES = 10
# Header of a record batch.
_BATCH_BYTES = 61


def main() -> None:
    """Print the rows."""
    for row in rows():
        met = {None: "", True: ", met", False: ", missed"}[row.met]
        sys.stdout.write(
            f"{row.name}: {row.value:,.0f} {row.unit}{f' (aim {row.aim}{met})' if row.aim else ''}\n"
        )


def rows() -> list[Row]:
    """Return the size of an example before compression, and after it for several batch sizes."""
    values = _by_partition()
    raw = np.mean([len(value) for of in values for value in of])
    found = [Row.informing("an example, before compression", float(raw), "bytes")]
    for size in _BATCHES:
        name = f"an example, compressed {size:,} at once"
        found.append(Row.aimed(name, _compressed(values, size), "bytes", at_most=AIM))
    most = max(len(value) for of in values for value in of)
    full = [[value for value in of if len(value) > most - _FULL_WITHIN] for of in values]
    name = f"an example with a full window, compressed alone ({sum(map(len, full)):,} of them)"
    return [*found, Row.aimed(name, _compressed(full, 1), "bytes", at_most=AIM)]


def _by_partition() -> list[list[bytes]]:
    pairs = list(movielens.rated_events(movielens.fetch()))
    tokenizer = BehaviourTokenizer.from_folder(minilm_dir(), TextSettings())
    examples = label_in_order(pairs, tokenizer, partition_of=partition_of)
    encode, found = Codec(LabeledExample).encode, defaultdict[int, list[bytes]](list)
    for (event, outcome), example in zip(pairs, examples, strict=True):
        found[partition_of(event.user_id)].append(encode(_record(event, outcome, example)))
    return list(found.values())


def _record(event: BehaviorEvent, outcome: Outcome, example: Example) -> LabeledExample:
    # Estimates are float32 values.
    score = float(np.float32(0.5 + 0.3 * np.sin(event.occurred_at)))
    return LabeledExample(
        event_id=event.event_id,
        user_id=event.user_id,
        item_id=event.item_id,
        history="",
        target=example.target,
        y=outcome.y,
        y_hat=score,
        z_hat=1 - score,
        model_version="v-0123456789ab",
        label_source="outcome",
        occurred_at=event.occurred_at,
        labeled_at=outcome.observed_at,
        z=outcome.z,
        snapshot=example.snapshot,
    )


def _compressed(values: Sequence[Sequence[bytes]], size: int) -> float:
    """Return the mean bytes per record, including its share of the batch header."""
    codec = pa.Codec("lz4")  # the frame format, as in Kafka
    total = count = 0
    for of in values:
        for first in range(0, len(of), size):
            part = of[first : first + size]
            frame = b"".join(b"\0" * _RECORD_BYTES + value for value in part)
            total += len(codec.compress(frame, asbytes=True)) + _BATCH_BYTES
            count += len(part)
    return total / count


if __name__ == "__main__":
    main()
