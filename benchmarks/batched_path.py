"""Everything but the model: Avro in, window, text, token ids, state, changelog, Avro scores, transactions.

Measured under a backlog, from the scores that a read_committed reader sees; the start is left out. The peer does
the same job as a plain Faust agent, at least once (benchmarks/plain_faust.py).
"""

from benchmarks.reader import Reader, Span
from benchmarks.rows import Row
from benchmarks.stand import Stand

EVENTS = 400_000
AIM = 15.0
_WARM_S = 2.0
_FOR_S = 12.0


def rows(stand: Stand) -> list[Row]:
    """Run the worker without and with the label join, the peer, and the peer with a table in memory, in turn."""
    ours = _measure(stand, "batched", "benchmarks.sway_worker", "free")
    joining = _measure(stand, "batched-joining", "benchmarks.sway_worker", "joining")
    peer = _measure(stand, "plain-faust", "benchmarks.plain_faust", "rocksdb://")
    kind = _measure(stand, "plain-faust-memory", "benchmarks.plain_faust", "memory://")
    return [
        Row.compared(
            "batched path",
            ours.per_s,
            "events/s",
            "plain Faust agent, table in RocksDB",
            peer.per_s,
            at_least=AIM,
        ),
        Row.compared(
            "batched path, against a table in memory",
            ours.per_s,
            "events/s",
            "plain Faust agent, table in memory",
            kind.per_s,
        ),
        Row.compared(
            "batched path with the label join, each event waits for its label",
            joining.per_s,
            "events/s",
            "batched path without it",
            ours.per_s,
        ),
        Row.compared(
            "label join, CPU of the process",
            joining.cpu_us,
            "µs/event",
            "batched path without it",
            ours.cpu_us,
        ),
        Row.compared(
            "batched path, CPU of the process",
            ours.cpu_us,
            "µs/event",
            "plain Faust agent, table in RocksDB",
            peer.cpu_us,
        ),
    ]


def _measure(stand: Stand, name: str, module: str, *arguments: str) -> Span:
    with stand.program(name, module, *arguments) as program, Reader(stand, name) as reader:
        return reader.measure(program, EVENTS, warm_s=_WARM_S, for_s=_FOR_S)
