"""The worker with the real model, against the bare forward passes over the very batches that it packed.

The worker notes each batch and when its pass ended. Those that ended between two arrivals at a read_committed
reader are run again, alone in a process of their own: what the path adds to the model is the difference.
"""

from benchmarks.bare_passes import bare_passes
from benchmarks.reader import Reader
from benchmarks.rows import Row
from benchmarks.stand import Stand

AIM = 0.90
_WARM_S = 1.0
_FOR_S = 25.0
_SETTINGS = {
    "MODEL__DTYPE": "fp32",
    "MODEL__DEVICE": "cpu",
    "KAFKA__REBALANCE_TIMEOUT_S": "6",  # half of it is how long the end waits for what is in flight
}


def rows(stand: Stand, backlog: int) -> list[Row]:
    """Run the worker, then the passes alone. backlog: how many events there are, more than can be scored."""
    file = stand.folder / "passes.pt"
    with (
        stand.program("whole", "benchmarks.sway_worker", "real", str(file), **_SETTINGS) as program,
        Reader(stand, "whole") as reader,
    ):
        span = reader.measure(program, backlog, warm_s=_WARM_S, for_s=_FOR_S)
    texts, bare_s = bare_passes(stand, "whole", file, (span.began_s, span.ended_s), _SETTINGS)
    whole_s = span.ended_s - span.began_s
    return [
        Row.compared(
            "whole path", texts / whole_s, "texts/s", "bare forward passes", texts / bare_s, at_least=AIM
        )
    ]
