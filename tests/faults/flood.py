"""Overload: a producer that is faster than the worker, and one user with very many events."""

import time
from collections import deque
from collections.abc import Iterator

import psutil

from model.registry import ModelRegistry
from model.tokens import Piece
from schemas.records import BehaviorEvent
from schemas.state_records import Behaviour
from schemas.window_state import encode_behaviour
from stream.scoring.behaviours import WindowCodec
from tests.faults.audit import LIMITS, Audit
from tests.faults.case import case
from tests.faults.inside import Inside
from tests.faults.load import FILMS
from tests.faults.process import ForkedWorker
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for

_MIB = 1024 * 1024

_FLOOD_S = 40
_FLOOD_PER_S = 250.0
_READ_PAUSE_S = 0.25
_IN_FLIGHT = 100
_WARM = 8  # samples before the measurement, about a second each
_FLAT_MB = 60.0

_EVENTS = 100_000
_USER = "user-who-never-stops"
_PART = 10_000
_SLOWER = 2.0  # the largest allowed ratio of the last part's time to the first's
_GROWTH_MB = 150.0  # from a fifth of the events to the end: RocksDB's buffers and pending labels


@case("the producer outruns the worker: memory is flat, lag is told, it catches up", limit_s=300)
def outrun(stage: Stage) -> None:
    stage.environment["SWAY_UNITS__MAX_IN_FLIGHT_RECORDS"] = str(_IN_FLIGHT)
    slow = Inside(read_pause_s=_READ_PAUSE_S, pauses=round(1.4 * _FLOOD_S / _READ_PAUSE_S))
    worker = stage.create_topics().worker("a", slow)
    worker.start().wait_until_ready()
    stage.feed(_FLOOD_PER_S)
    memory_mb, lag, in_flight = [], [], []
    ends = time.monotonic() + _FLOOD_S
    while time.monotonic() < ends:
        time.sleep(1)
        memory_mb.append(_memory_mb(worker))
        found = _gauges(worker)
        lag.append(found["lag"])
        in_flight.append(found["in_flight"])
    stage.stop_feeding()
    began = time.monotonic()
    wait_for(lambda: stage.answers.read() >= stage.due(), "all answers", timeout_s=150)
    stage.recoveries_s.append(time.monotonic() - began)
    wait_for(lambda: _gauges(worker) == {"lag": 0, "in_flight": 0}, "the end of the lag")
    stage.notes["lag at most"] = f"{max(lag):.0f} records"
    stage.notes["in flight at most"] = f"{max(in_flight):.0f} of {_IN_FLIGHT}"
    stage.notes["memory when warm and at most"] = (
        f"{memory_mb[_WARM]:.0f} and {max(memory_mb[_WARM:]):.0f} MB"
    )
    assert max(lag) > 2000
    assert max(in_flight) <= 2 * _IN_FLIGHT, "more in flight than the limit and one poll"
    assert max(memory_mb[_WARM:]) - memory_mb[_WARM] < _FLAT_MB


def _memory_mb(worker: ForkedWorker) -> float:
    return float(psutil.Process(worker.process.pid).memory_info().rss / _MIB)


def _gauges(worker: ForkedWorker) -> dict[str, float]:
    """Return the worker's metrics of lag and of records in flight."""
    page = worker.page("/metrics")[1].splitlines()
    lag = sum(float(line.rsplit(" ", 1)[1]) for line in page if line.startswith("sway_lag_records{"))
    in_flight = sum(
        float(line.rsplit(" ", 1)[1]) for line in page if line.startswith("sway_in_flight_records ")
    )
    return {"lag": lag, "in_flight": in_flight}


@case("100,000 events of one user", limit_s=420)
def one_user(stage: Stage) -> Audit:
    stage.environment |= {"SWAY_UNITS__MAX_RECORDS": "256", "SWAY_UNITS__MAX_IN_FLIGHT_RECORDS": "2048"}
    worker = stage.create_topics().worker("a", Inside(free_model=True))
    for number, event in enumerate(_events()):
        stage.give_event(event)
        if number % 5000 == 0:
            stage.flush()
    stage.flush()
    worker.start().wait_until_ready()
    memory_mb: list[tuple[int, float]] = []

    def all_answered() -> bool:
        memory_mb.append((stage.answers.read(), _memory_mb(worker)))
        return memory_mb[-1][0] >= _EVENTS

    wait_for(all_answered, f"{_EVENTS:,} scores", timeout_s=300)
    early_mb = next(mb for answers, mb in memory_mb if answers >= _EVENTS // 5)
    most_mb = max(mb for answers, mb in memory_mb if answers >= _EVENTS // 5)
    stage.notes["memory after a fifth and at most"] = f"{early_mb:.0f} and {most_mb:.0f} MB"
    ((_partition, written_ms),) = stage.answers.written_ms.items()
    first_ms = written_ms[_PART] - written_ms[0]
    last_ms = written_ms[-1] - written_ms[-1 - _PART]
    stage.notes["an event among the first and the last 10,000"] = (
        f"{first_ms / _PART:.2f} and {last_ms / _PART:.2f} ms"
    )
    assert worker.terminate() == 0
    found = Audit(
        events=_EVENTS,
        scores=len(stage.answers.scores),
        dead_letters=len(stage.answers.letters),
        lost=_EVENTS - len(stage.answers.seen),
        duplicates=sum(count - 1 for count in stage.answers.seen.values()),
    )
    found.problems += _check(stage)
    assert last_ms < _SLOWER * first_ms
    assert most_mb - early_mb < _GROWTH_MB
    return found


def _events() -> Iterator[BehaviorEvent]:
    start_ms = int(time.time() * 1000) - _EVENTS * 20
    for number in range(_EVENTS):
        text = FILMS[number % len(FILMS)]
        yield BehaviorEvent(f"e{number}", _USER, "watch", start_ms + 20 * number, f"i{number % 50}", text)


def _check(stage: Stage) -> Iterator[str]:
    """Compare each score and the final window with a loop for this load, which is ordered and has no outcomes."""
    tokenizer = ModelRegistry(stage.registry).load("tiny").tokenizer
    scores = {score.source.offset: score for score in stage.answers.scores}
    window: deque[tuple[Behaviour, Piece, int]] = deque()
    size = 0
    for offset, one in enumerate(_produced_events(stage)):
        behaviour = Behaviour(
            one.event_id, offset, one.occurred_at, one.action, one.item_id, one.item_text, None
        )
        text = tokenizer.encode([piece for _, piece, _ in window], tokenizer.target(behaviour))
        score = scores[offset]
        values = (score.event_id, score.duplicate, score.behaviours, score.truncated)
        due = (one.event_id, False, text.behaviours, text.truncated)
        if values != due:
            yield f"the score of {offset} has {values} and not {due}"
            return
        size += (length := len(encode_behaviour(behaviour)))
        window.append((behaviour, tokenizer.piece(behaviour), length))
        while len(window) > LIMITS.max_behaviours or size > LIMITS.max_bytes:
            size -= window.popleft()[2]
    changelog = stage.changelog()
    codec = WindowCodec(tokenizer)
    kept = [codec.loads(raw) for users in changelog.values() for raw in users.values()]
    if [[entry.behaviour for entry in one.entries] for one in kept] != [[one for one, _, _ in window]]:
        yield "the window differs from that of a plain loop"
    if stage.stores() != changelog:
        yield "RocksDB differs from its changelog"
    stage.notes["behaviours in the window"] = f"{len(window)}"


def _produced_events(stage: Stage) -> Iterator[BehaviorEvent]:
    for _where, what in sorted(stage.produced, key=lambda pair: pair[0]):
        assert isinstance(what, BehaviorEvent)
        yield what
