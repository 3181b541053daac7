"""When an idle partition needs a tick, and for what time."""

from stream.scoring.labels.ticks import TickTimes

HOUR = 3_600_000
BEGAN = 1_000_000 * HOUR
"""Stream time, far from the time of the clocks."""
UTC = 2_000_000 * HOUR


def test_a_partition_with_advancing_time_needs_no_tick() -> None:
    times = TickTimes(HOUR)
    assert not any(times.is_idle(0, BEGAN + now_ms, now_ms) for now_ms in range(0, HOUR, 1000))


def test_a_tick_is_due_with_the_next_label() -> None:
    times = TickTimes(HOUR)
    assert not times.is_idle(0, BEGAN, 500)
    assert times.is_idle(0, BEGAN, 5500)
    assert times.due(0, lambda: BEGAN + 5001, 5500, UTC) is None
    assert times.due(0, lambda: BEGAN + 5001, 5501, UTC) == BEGAN + 5001


def test_a_tick_is_due_every_hour_while_labels_wait() -> None:
    times = TickTimes(2 * HOUR)
    times.is_idle(0, BEGAN, 0)
    assert times.due(0, lambda: BEGAN + 24 * HOUR, HOUR - 1, UTC) is None
    assert times.due(0, lambda: BEGAN + 24 * HOUR, HOUR, UTC) == BEGAN + HOUR


def test_no_tick_is_due_without_waiting_labels() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    assert times.due(0, lambda: None, 100 * HOUR, UTC) is None


def test_a_tick_advances_time_by_one_step_at_most() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    assert times.due(0, lambda: BEGAN, 100 * HOUR, UTC) == BEGAN + HOUR


def test_an_unread_tick_is_repeated() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    sent = [
        now_ms for now_ms in range(2000, 70_000, 1000) if times.due(0, lambda: BEGAN, now_ms, UTC) is not None
    ]
    assert sent == [2000, 32_000, 62_000]


def test_a_tick_is_never_in_the_future() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    assert times.due(0, lambda: BEGAN, 5000, BEGAN) is None
    assert times.due(0, lambda: BEGAN, 5000, BEGAN + 4999) == BEGAN + 4999


def test_a_clock_behind_stream_time_delays_a_tick() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    due = [
        now_ms
        for now_ms in range(0, 100_000, 1000)
        if times.due(0, lambda: BEGAN + 60_000, now_ms, BEGAN - 2000 + now_ms) is not None
    ]
    assert due[0] == 62_000


def test_the_next_due_time_is_read_once_while_idle() -> None:
    times = TickTimes(HOUR)
    reads: list[int] = []

    def next_due_at() -> int:
        reads.append(1)
        return BEGAN + HOUR

    times.is_idle(0, BEGAN, 0)
    for now_ms in range(2000, 60_000, 1000):
        times.due(0, next_due_at, now_ms, UTC)
    assert len(reads) == 1


def test_a_partition_that_returns_is_not_idle() -> None:
    times = TickTimes(HOUR)
    times.is_idle(0, BEGAN, 0)
    times.retain(set())
    assert not times.is_idle(0, BEGAN, 5000)
