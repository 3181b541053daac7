"""Lag from the consumer's ends and from the brokers' ends. Neither source is complete alone."""

import pytest

from stream.exactly_once.units.lag import Ends, InputLag, Lag
from stream.exactly_once.units.records import TopicPartition

EVENTS_0, EVENTS_1 = TopicPartition("events", 0), TopicPartition("events", 1)


class Clock:
    """A clock that only the test advances."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lag(clock: Clock) -> InputLag:
    return InputLag(clock)


def test_lag_uses_the_consumers_ends_before_any_broker_answer(lag: InputLag) -> None:
    assert lag.of({EVENTS_0: (3, 10)}) == {EVENTS_0: Lag(7, 7, 10, 0.0)}


def test_a_stopped_fetcher_has_the_lag_of_the_brokers_ends(lag: InputLag) -> None:
    fetched = {EVENTS_0: (5, 5)}  # constant: the fetcher has stopped
    lag.update({EVENTS_0: Ends(5, 5)})
    assert lag.of(fetched)[EVENTS_0].stable_records == 0
    lag.update({EVENTS_0: Ends(9, 9)})
    assert lag.of(fetched)[EVENTS_0] == Lag(4, 4, 9, 0.0)


def test_newer_ends_of_the_consumer_count_too(lag: InputLag) -> None:
    lag.update({EVENTS_0: Ends(5, 6)})
    assert lag.of({EVENTS_0: (12, 20)})[EVENTS_0] == Lag(8, 8, 20, 0.0)


def test_records_behind_an_open_transaction_are_not_stable(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(5, 9)})
    clock.now_s += 7
    assert lag.of({EVENTS_0: (5, 5)})[EVENTS_0] == Lag(0, 4, 5, 7.0)
    lag.update({EVENTS_0: Ends(5, 30)})  # other producers continue to write
    clock.now_s += 1
    assert lag.of({EVENTS_0: (5, 5)})[EVENTS_0] == Lag(0, 25, 5, 8.0)


def test_each_open_transaction_has_its_own_age(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(5, 9)})
    clock.now_s += 7
    lag.update({EVENTS_0: Ends(9, 12)})  # the first has ended; another is open
    clock.now_s += 1
    assert lag.of({EVENTS_0: (9, 9)})[EVENTS_0].open_transaction_s == 1.0
    lag.update({EVENTS_0: Ends(12, 12)})
    assert lag.of({EVENTS_0: (9, 9)})[EVENTS_0].open_transaction_s == 0.0


def test_a_transaction_seen_ended_by_the_consumer_is_over(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(5, 9)})
    clock.now_s += 7
    assert lag.of({EVENTS_0: (10, 10)})[EVENTS_0] == Lag(0, 0, 10, 0.0)


def test_a_partition_without_an_answer_keeps_its_last_ends(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(5, 9), EVENTS_1: Ends(3, 3)})
    clock.now_s += 2
    lag.update({EVENTS_1: Ends(4, 4)})
    clock.now_s += 1
    assert lag.of({EVENTS_0: (5, 5)})[EVENTS_0] == Lag(0, 4, 5, 3.0)


def test_silence_is_counted_from_the_last_answer(lag: InputLag, clock: Clock) -> None:
    clock.now_s += 4
    lag.update({})
    assert lag.silent_s == 4
    lag.update({EVENTS_0: Ends(1, 1)})
    assert lag.silent_s == 0
