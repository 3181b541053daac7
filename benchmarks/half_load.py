"""Latency from an event's due time until its score is visible, at a constant rate below the worker's capacity.

The load is an open loop: latency counts from the due time of an event, so that a load generator that falls behind does
not improve the figures. The load comes from a separate process and is encoded in advance. The reader records arrival
times and decodes afterwards. It polls every 5 ms, which is included in the latency.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from benchmarks.paced_load import measured, warming
from benchmarks.reader import Reader
from benchmarks.rows import Row
from benchmarks.stand import Program, Stand
from schemas.records import InfluenceScore
from schemas.wire import Codec
from stream.settings import ModelSettings

MOST_PASSES = 2.0
MOST_LATE_MS = 10.0
_WARM_EVENTS = 10_000
_SETTLES_S = 5.0
_FOR_S = 20.0
_LOOK_S = 0.005
_LEAD_S = 0.2
_TOPICS = "half.events", "half.outcomes"


class Measured(NamedTuple):
    """The measurements of a run.

    taken_ms: latency of each event, ordered by due time. late_ms: delay of the load generator per burst.
    waiting: the number of events without a score at the due time of the last event.
    """

    taken_ms: list[float]
    late_ms: list[float]
    waiting: int


def rows(stand: Stand, per_s: float, settings: Mapping[str, str]) -> list[Row]:
    """Run a worker at a rate of per_s events per second. settings: of the worker."""
    name, number = "late-half", round(per_s * (_SETTLES_S + _FOR_S))
    stand.create_topics(*_TOPICS)
    file = stand.folder / "late-passes.json"
    topics = {"TOPICS__EVENTS": _TOPICS[0], "TOPICS__OUTCOMES": _TOPICS[1]}
    with (
        stand.program(name, "benchmarks.sway_worker", "timed", str(file), **topics, **settings) as program,
        Reader(stand, name, wait_s=_LOOK_S) as reader,
    ):
        seen = _measure(stand, program, reader, number, per_s)
    passes = json.loads(file.read_text(encoding="utf-8"))
    pass_ms = statistics.median(seconds for _, seconds in passes[len(passes) // 2 :]) * 1e3
    most_ms = ModelSettings().max_wait_s * 1e3 + pass_ms
    p50, p99 = np.percentile(seen.taken_ms[round(per_s * _SETTLES_S) :], [50, 99])
    late_p99 = float(np.percentile(seen.late_ms, 99))
    return [
        Row.informing(f"late reading at half load ({per_s:,.0f} events/s), p50", float(p50), "ms"),
        Row.compared(
            "the same, p99", float(p99), "ms", "max_wait_s and one pass", most_ms, at_most=MOST_PASSES
        ),
        Row.informing("the same, events without a score when the load ended", seen.waiting, "events"),
        Row.aimed("the same, how late the load itself was, p99", late_p99, "ms", at_most=MOST_LATE_MS),
    ]


def _measure(stand: Stand, program: Program, reader: Reader, number: int, per_s: float) -> Measured:
    warm = len(warming(_WARM_EVENTS))
    due = {_key(event): place / per_s for place, (event, _) in enumerate(measured(_WARM_EVENTS, number), 1)}
    decode = Codec(InfluenceScore).decode
    arrivals: list[tuple[float, bytes]] = []
    with _load(stand.servers, number, per_s) as load:
        load.write_line("warm")
        count = 0
        began_s: float | None = None
        for now, messages in reader.arrivals(program):
            count += len(messages)
            if began_s is not None:
                arrivals += [(now, message.value() or b"") for message in messages]
            elif count >= warm:
                began_s = time.monotonic() + _LEAD_S
                load.write_line(f"go {began_s}")
            if count >= warm + number:
                break
        late_ms = json.loads(load.read_line())
    assert began_s is not None
    scores = [(now - began_s, decode(value)) for now, value in arrivals]
    taken = {_key(score): now - due[_key(score)] for now, score in scores}
    return Measured(
        [taken[key] * 1e3 for key in due],
        late_ms,
        sum(now > number / per_s + _LOOK_S for now, _ in scores),
    )


def _key(one: object) -> tuple[str, str]:
    return one.user_id, one.event_id  # type: ignore[attr-defined]  # of events and scores


class _Child:
    """The process that generates the load."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def write_line(self, line: str) -> None:
        """Write a line to the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def read_line(self) -> str:
        """Return the next line of its output."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def _load(servers: str, number: int, per_s: float) -> Iterator[_Child]:
    command = [servers, *_TOPICS, str(_WARM_EVENTS), str(number), str(per_s)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.paced_load", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = _Child(process)
    try:
        assert child.read_line().strip() == "ready"
        yield child
    finally:
        process.terminate()
        process.wait()
