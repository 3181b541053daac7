"""What an example takes on its topic: `python -m benchmarks.example_bytes`.

MovieLens-100K in the order of time, examples as a worker under a late champion writes them (windows of 50, no history
in words), by the product's own codec and compression. A producer compresses a batch at a time, LZ4 in frames: what a
unit has for one partition. So the sizes are those of batches of one partition, alone, of half a unit, and so on.
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
from sway import movielens
from sway.base_model import minilm_dir
from sway.demo.first_model import partition_of
from trainer.dataset import Example, label_in_order

AIM = 2_048.0
_BATCHES = (1, 8, 128, 512)
_FULL_WITHIN = 36 * 3  # bytes of the longest: titles differ by so much, and a behaviour takes 36
_RECORD_BYTES = (
    10  # around key and value in a batch: length, attributes, deltas of time and offset, lengths, headers
)
_BATCH_BYTES = 61  # before the records of a batch


def main() -> None:
    """Print the rows."""
    for row in rows():
        met = {None: "", True: ", met", False: ", missed"}[row.met]
        sys.stdout.write(
            f"{row.name}: {row.value:,.0f} {row.unit}{f' (aim {row.aim}{met})' if row.aim else ''}\n"
        )


def rows() -> list[Row]:
    """Return the bytes of an example before compression, and after it in batches of several sizes."""
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
    score = float(np.float32(0.5 + 0.3 * np.sin(event.occurred_at)))  # estimates have the bits of a float32
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
    """Return the mean bytes of a record, its share of a batch's head included."""
    codec = pa.Codec("lz4")  # the frame format, as Kafka's
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
