"""Throughput of the worker without the model: Avro, window, text, token ids, state, changelog, transactions.

Measured with a backlog, by the scores that a read_committed consumer receives, without the start-up. The peer is a
plain Faust agent that does the same work with at-least-once delivery (benchmarks/plain_faust.py).
"""

from benchmarks.reader import Reader, Span
from benchmarks.rows import Row
from benchmarks.stand import Stand

EVENTS = 400_000
AIM = 15.0
_WARM_S = 2.0
_FOR_S = 12.0


def rows(stand: Stand) -> list[Row]:
    """Run the worker without and with the label join, then the peer with its table in RocksDB and in memory."""
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
