"""A worker with the late reading and the label join, against the joint reading in the same run.

Measures full load, half load, new texts only, and memory with a full vector cache. Events are MovieLens-100K; each
outcome directly follows its event. The late network and its item vectors are untrained, which does not change the cost
of a pass. Both readings use the same encoder, all-MiniLM-L6-v2.
"""

from collections.abc import Mapping

import psutil

from benchmarks import half_load
from benchmarks.late_model import publish_late_model
from benchmarks.movies import produce_rated
from benchmarks.reader import Reader, Span
from benchmarks.rows import Row
from benchmarks.stand import Program, Stand

MIN_SPEEDUP = 20.0
MIN_EVENTS_PER_S = 1_500.0
TEXTS = 200_000
MAX_MB = 1_500.0
_EVENTS = 150_000
_COLD_EVENTS = 20_000
_FULL_EVENTS = 20_000
_FULL_MAX_S = 600.0
_WARM_S = 6.0
_FOR_S = 20.0
_SETTINGS = {
    "MODEL__DTYPE": "fp32",
    "MODEL__DEVICE": "cpu",
    "HANDOVER__ENABLED": "false",
    # At shutdown, units in flight are waited for during half of this time.
    "KAFKA__REBALANCE_TIMEOUT_S": "6",
}


def rows(stand: Stand) -> list[Row]:
    """Run both readings on the same events, then the late one with new texts, at half load and with a full cache."""
    late = {"MODEL__REGISTRY": str(publish_late_model(stand.folder / "late-registry"))}
    stand.create_topics("bench.examples")
    _load(stand, "rated", _EVENTS)
    _load(stand, "new", _COLD_EVENTS, new_texts=True)
    joint = _measure(stand, "joint-rated", "rated", {})
    warm = _measure(stand, "late-rated", "rated", late)
    cold = _measure(stand, "late-new", "new", late, warm_s=0.0)
    return [
        Row.compared(
            "whole path, late reading, label join on",
            warm.per_s,
            "events/s",
            "joint reading",
            joint.per_s,
            at_least=MIN_SPEEDUP,
        ),
        Row.aimed("the same, events a second", warm.per_s, "events/s", at_least=MIN_EVENTS_PER_S),
        Row.compared("the same, CPU of the process", warm.cpu_us, "µs/event", "joint reading", joint.cpu_us),
        Row.compared(
            "late reading, every text new",
            cold.per_s,
            "events/s",
            "joint reading",
            joint.per_s,
            at_least=1.0,
        ),
        *half_load.rows(stand, warm.per_s / 2, {**_SETTINGS, **late}),
        _memory(stand, late),
    ]


def _load(stand: Stand, name: str, number: int, *, new_texts: bool = False) -> None:
    events, outcomes = f"{name}.events", f"{name}.outcomes"
    stand.create_topics(events, outcomes)
    produce_rated(stand.servers, events, outcomes, number, per_s=MIN_EVENTS_PER_S, new_texts=new_texts)


def _measure(
    stand: Stand, name: str, load: str, settings: Mapping[str, str], warm_s: float = _WARM_S
) -> Span:
    with (
        stand.program(
            name, "benchmarks.sway_worker", "serving", **_topics(load), **_SETTINGS, **settings
        ) as program,
        Reader(stand, name) as reader,
    ):
        total = _COLD_EVENTS if load == "new" else _EVENTS
        return reader.measure(program, total, warm_s=warm_s, for_s=_FOR_S)


def _topics(load: str) -> dict[str, str]:
    return {"TOPICS__EVENTS": f"{load}.events", "TOPICS__OUTCOMES": f"{load}.outcomes"}


def _memory(stand: Stand, late: Mapping[str, str]) -> Row:
    """Measure the resident memory of a worker with vectors of TEXTS texts after it has scored _FULL_EVENTS events."""
    name = "late-full"
    with (
        stand.program(
            name, "benchmarks.sway_worker", "full", str(TEXTS), **_topics("rated"), **_SETTINGS, **late
        ) as program,
        Reader(stand, name) as reader,
    ):
        reader.measure(program, _FULL_EVENTS, warm_s=1.0, for_s=_FULL_MAX_S)
        mb = _resident_mb(program)
    return Row.aimed(f"worker with vectors of {TEXTS:,} texts, resident", mb, "MB", at_most=MAX_MB)


def _resident_mb(program: Program) -> float:
    return float(psutil.Process(program.pid).memory_info().rss) / 1e6
