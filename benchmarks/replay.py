"""Throughput of replay: without the model against a plain loop, with the model against bare forward passes.

The first is a replay of a million events; its memory at the half and at the end is reported too.
"""

from benchmarks.bare_passes import bare_passes
from benchmarks.rows import Row
from benchmarks.stand import Stand

RECORDS = 1_000_000
AIM_LOOP = 0.5
AIM_PASSES = 0.95
_FOR_S = 45.0
# Not measured at the beginning, while the first records are fetched.
_LEFT_OUT_S = 5.0
# As in the batched path: the peer has no label join.
_FREE = {"LABELS__OUTCOMES": "false"}
_REAL = {"MODEL__DTYPE": "fp32", "MODEL__DEVICE": "cpu", "REPLAY__BATCH_S": "5"}


def rows(stand: Stand) -> list[Row]:
    """Run replay and its peers. `stand` must have RECORDS events."""
    return [*_free(stand), _real(stand)]


def _free(stand: Stand) -> list[Row]:
    with stand.program(
        "replay-free", "benchmarks.sway_replay", "free", "replay-free.again", **_FREE
    ) as program:
        stand.create_topics("replay-free.again", "replay-free.again.dead-letters")
        records, seconds, peak_mb, half_mb, end_mb = map(float, program.answer().split())
    with stand.program("plain-loop", "benchmarks.plain_loop", "plain-loop.scores", **_FREE) as program:
        loop_records, loop_s = map(float, program.answer().split())
    return [
        Row.compared(
            "replay, scorer that costs nothing",
            records / seconds,
            "events/s",
            "plain confluent-kafka loop, windows in memory",
            loop_records / loop_s,
            at_least=AIM_LOOP,
        ),
        Row.compared(
            f"resident memory at the end of a replay of {records:,.0f} events",
            end_mb,
            "MB",
            "the same at half the way",
            half_mb,
        ),
        Row.informing("peak of its resident memory", peak_mb, "MB"),
    ]


def _real(stand: Stand) -> Row:
    file = stand.folder / "replay-passes.pt"
    arguments = ("real", str(stand.folder / "replayed"), str(file), repr(_FOR_S))
    with stand.program("replay-real", "benchmarks.sway_replay", *arguments, **_REAL) as program:
        began_s, ended_s = map(float, program.answer().split())
    between_s = began_s + _LEFT_OUT_S, ended_s
    texts, bare_s = bare_passes(stand, "replay", file, between_s, _REAL)
    return Row.compared(
        "replay with the model",
        texts / (between_s[1] - between_s[0]),
        "texts/s",
        "bare forward passes over the same batches",
        texts / bare_s,
        at_least=AIM_PASSES,
    )
