"""When an idle partition needs a tick, and for what time."""

from stream.scoring.labels.ticks import TickTimes

HOUR = 3_600_000
BEGAN = 1_000_000 * HOUR  # stream time, far from that of the clocks
UTC = 2_000_000 * HOUR


def test_a_partition_whose_time_goes_on_needs_no_tick() -> None:
    times = TickTimes(HOUR)
    assert not any(times.is_idle(0, BEGAN + now_ms, now_ms) for now_ms in range(0, HOUR, 1000))


def test_a_tick_comes_when_a_label_is_due_and_brings_time_on_by_as_long_as_it_stood() -> None:
    times = TickTimes(HOUR)
    assert not times.is_idle(0, BEGAN, 500)
    assert times.is_idle(0, BEGAN, 5500)
    assert times.due(0, lambda: BEGAN + 5001, 5500, UTC) is None
    assert times.due(0, lambda: BEGAN + 5001, 5501, UTC) == BEGAN + 5001


def test_a_tick_comes_after_each_hour_while_something_waits() -> None:
    times = TickTimes(2 * HOUR)
    times.is_idle(0, BEGAN, 0)
    assert times.due(0, lambda: BEGAN + 24 * HOUR, HOUR - 1, UTC) is None
    assert times.due(0, lambda: BEGAN + 24 * HOUR, HOUR, UTC) == BEGAN + HOUR


def test_no_tick_comes_where_nothing_waits() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    assert times.due(0, lambda: None, 100 * HOUR, UTC) is None


def test_a_tick_goes_no_further_than_one_record_may() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    assert times.due(0, lambda: BEGAN, 100 * HOUR, UTC) == BEGAN + HOUR


def test_a_tick_that_is_not_read_is_repeated_after_a_while() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    sent = [
        now_ms for now_ms in range(2000, 70_000, 1000) if times.due(0, lambda: BEGAN, now_ms, UTC) is not None
    ]
    assert sent == [2000, 32_000, 62_000]


def test_no_tick_comes_from_the_future() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    assert times.due(0, lambda: BEGAN, 5000, BEGAN) is None
    assert times.due(0, lambda: BEGAN, 5000, BEGAN + 4999) == BEGAN + 4999


def test_a_clock_that_is_a_moment_behind_stream_time_delays_a_tick_by_that_moment() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    due = [
        now_ms
        for now_ms in range(0, 100_000, 1000)
        if times.due(0, lambda: BEGAN + 60_000, now_ms, BEGAN - 2000 + now_ms) is not None
    ]
    assert due[0] == 62_000


def test_what_falls_due_is_asked_for_once_while_time_stands() -> None:
    times = TickTimes(HOUR)
    asked: list[int] = []

    def next_due_at() -> int:
        asked.append(1)
        return BEGAN + HOUR

    times.is_idle(0, BEGAN, 0)
    for now_ms in range(2000, 60_000, 1000):
        times.due(0, next_due_at, now_ms, UTC)
    assert len(asked) == 1


def test_a_partition_that_was_away_begins_anew() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    times.retain(set())
    assert not times.is_idle(0, BEGAN, 5000)
