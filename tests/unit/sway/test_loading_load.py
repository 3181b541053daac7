"""Loading rows as records, without a broker: order, keys, times and bad rows."""

from typing import Any

import pytest

from schemas.records import BehaviorEvent, Outcome
from schemas.wire import Codec
from sway.errors import CommandError
from sway.files.rows import Row
from sway.load.loader import Loader, OnBadRow
from sway.load.pace import Pace, parse_rate
from sway.load.rows import RowError
from sway.load.targets import EVENTS, OUTCOMES, Target

NOW_S = 1_700_000_000.0
NOW_MS = 1_700_000_000_000
CODECS: dict[Target, Codec[Any]] = {EVENTS: Codec(BehaviorEvent), OUTCOMES: Codec(Outcome)}


class Kafka:
    """Collects the records sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes, int]] = []

    def __call__(self, key: bytes, value: bytes, timestamp_ms: int, /) -> None:
        self.sent.append((key, value, timestamp_ms))


class RejectingKafka(Kafka):
    """Rejects every record."""

    def __call__(self, key: bytes, value: bytes, timestamp_ms: int, /) -> None:
        raise RowError("too large")


def event(line: int, occurred_at: int = NOW_MS, **changes: object) -> Row:
    values = {"event_id": f"e{line}", "user_id": "u1", "action": "view", "occurred_at": occurred_at}
    return Row(line=line, position=line, values=values | changes)


def loader(
    kafka: Kafka,
    target: Target = EVENTS,
    *,
    on_bad_row: OnBadRow = lambda line, problem: None,
    use_own_time: bool = True,
    oldest_ms: int | None = None,
) -> Loader:
    return Loader(
        target,
        CODECS[target].encode,
        kafka,
        on_bad_row=on_bad_row,
        pace=Pace(None),
        use_own_time=use_own_time,
        oldest_ms=oldest_ms,
        clock=lambda: NOW_S,
    )


def test_records_keep_their_order_user_and_time() -> None:
    kafka = Kafka()
    loading = loader(kafka)
    positions: list[int] = []
    loading.load([event(1, NOW_MS - 5, user_id="ü"), event(2, NOW_MS - 9)], positions.append)
    assert [(key, time) for key, _, time in kafka.sent] == [("ü".encode(), NOW_MS - 5), (b"u1", NOW_MS - 9)]
    assert CODECS[EVENTS].decode(kafka.sent[1][1]) == BehaviorEvent("e2", "u1", "view", NOW_MS - 9)
    assert (loading.sent, loading.skipped, positions) == (2, 0, [1, 2])


def test_records_keep_their_time_under_the_current_timestamp() -> None:
    kafka = Kafka()
    loader(kafka, use_own_time=False).load([event(1, 1000)], lambda _: None)
    ((_, value, timestamp_ms),) = kafka.sent
    assert timestamp_ms == NOW_MS
    record = CODECS[EVENTS].decode(value)
    assert isinstance(record, BehaviorEvent)
    assert record.occurred_at == 1000


def test_bad_rows_are_reported_and_skipped() -> None:
    kafka = Kafka()
    reported: list[tuple[int, str]] = []
    loading = loader(kafka, on_bad_row=lambda line, problem: reported.append((line, problem)))
    rows = [
        event(1),
        Row(line=2, position=2, problem="no JSON"),
        event(3, user_id=" "),
        event(4, NOW_MS + 3_600_001),
        event(5, value=float("nan")),
        event(6, item_text="\ud800"),
        event(7),
    ]
    loading.load(rows, lambda _: None)
    assert (loading.sent, loading.skipped) == (2, 5)
    assert [line for line, _ in reported] == [2, 3, 4, 5, 6]
    assert reported[2][1].startswith("time_in_future: ")


def test_an_error_from_the_bad_row_handler_ends_the_load() -> None:
    def stop(line: int, problem: str) -> None:
        raise CommandError(f"line {line}: {problem}")

    kafka = Kafka()
    rows = [
        Row(line=line, position=line, values={"event_id": "e", "user_id": "u", "y": y, "observed_at": NOW_MS})
        for line, y in ((1, 1.0), (2, "x"), (3, 1.0))
    ]
    with pytest.raises(CommandError, match="line 2: y is not a number"):
        loader(kafka, OUTCOMES, on_bad_row=stop).load(rows, lambda _: None)
    assert len(kafka.sent) == 1


def test_an_outcome_above_one_is_a_bad_row() -> None:
    loading = loader(Kafka(), OUTCOMES)
    loading.load(
        [Row(line=1, position=1, values={"event_id": "e", "user_id": "u", "y": 1.5, "observed_at": NOW_MS})],
        lambda _: None,
    )
    assert loading.skipped == 1


def test_a_record_rejected_by_kafka_is_a_bad_row() -> None:
    loading = loader(RejectingKafka())
    loading.load([event(1)], lambda _: None)
    assert (loading.sent, loading.skipped) == (0, 1)


def test_a_record_past_retention_ends_the_load() -> None:
    with pytest.raises(CommandError, match=r"line 2 is older .*--history.*--now"):
        loader(Kafka(), oldest_ms=NOW_MS - 10).load([event(1), event(2, NOW_MS - 11)], lambda _: None)


class Clock:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_a_pace_keeps_the_rate_and_catches_up() -> None:
    clock = Clock()
    pace = Pace(10, now=clock.now, sleep=clock.sleep)
    for _ in range(11):
        pace.wait()
    assert clock.now_s == pytest.approx(101.0)
    clock.now_s += 1  # the broker was slow
    for _ in range(10):
        pace.wait()
    assert clock.now_s == pytest.approx(102.0)


def test_without_a_rate_there_is_no_wait() -> None:
    clock = Clock()
    pace = Pace(None, now=clock.now, sleep=clock.sleep)
    pace.wait()
    assert clock.now_s == 100.0


@pytest.mark.parametrize(("text", "per_s"), [("500", 500.0), ("500/s", 500.0), ("0.5/s", 0.5)])
def test_a_rate_is_parsed_as_records_per_second(text: str, per_s: float) -> None:
    assert parse_rate(text) == per_s


@pytest.mark.parametrize("text", ["0", "-1", "fast", "5/m", ""])
def test_an_invalid_rate_is_an_error(text: str) -> None:
    with pytest.raises(CommandError, match="records per second above 0"):
        parse_rate(text)
