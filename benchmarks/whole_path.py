"""Throughput of the worker with the model, against bare forward passes over the same batches.

The worker records each batch and the end of its pass. The passes that ended between two arrivals at a read_committed
consumer are repeated alone in a separate process. The difference is the overhead of the worker.
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
    "KAFKA__REBALANCE_TIMEOUT_S": "6",  # the worker's shutdown waits half of it for records in flight
}


def rows(stand: Stand, backlog: int) -> list[Row]:
    """Run the worker, then the passes alone. backlog: the number of events, more than can be scored."""
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
