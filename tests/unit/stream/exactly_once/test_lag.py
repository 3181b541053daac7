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


def lag_of(lag: InputLag, *, position: int, stable: int) -> Lag:
    """Return the lag of EVENTS_0 for this position and last stable offset of the consumer."""
    return lag.of({EVENTS_0: (position, stable)})[EVENTS_0]


def test_lag_uses_the_consumers_ends_before_any_broker_answer(lag: InputLag) -> None:
    assert lag.of({EVENTS_0: (3, 10)}) == {
        EVENTS_0: Lag(stable_records=7, records=7, stable=10, open_transaction_s=0.0)
    }


def test_a_stopped_fetcher_has_the_lag_of_the_brokers_ends(lag: InputLag) -> None:
    # The fetcher has stopped: the consumer's position and end stay at 5.
    lag.update({EVENTS_0: Ends(stable=5, high=5)})
    assert lag_of(lag, position=5, stable=5).stable_records == 0
    lag.update({EVENTS_0: Ends(stable=9, high=9)})
    assert lag_of(lag, position=5, stable=5) == Lag(
        stable_records=4, records=4, stable=9, open_transaction_s=0.0
    )


def test_newer_ends_of_the_consumer_count_too(lag: InputLag) -> None:
    lag.update({EVENTS_0: Ends(stable=5, high=6)})
    assert lag_of(lag, position=12, stable=20) == Lag(
        stable_records=8, records=8, stable=20, open_transaction_s=0.0
    )


def test_records_behind_an_open_transaction_are_not_stable(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(stable=5, high=9)})
    clock.now_s += 7
    assert lag_of(lag, position=5, stable=5) == Lag(
        stable_records=0, records=4, stable=5, open_transaction_s=7.0
    )
    lag.update({EVENTS_0: Ends(stable=5, high=30)})  # other producers continue to write
    clock.now_s += 1
    assert lag_of(lag, position=5, stable=5) == Lag(
        stable_records=0, records=25, stable=5, open_transaction_s=8.0
    )


def test_each_open_transaction_has_its_own_age(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(stable=5, high=9)})
    clock.now_s += 7
    lag.update({EVENTS_0: Ends(stable=9, high=12)})  # the first has ended; another is open
    clock.now_s += 1
    assert lag_of(lag, position=9, stable=9).open_transaction_s == 1.0
    lag.update({EVENTS_0: Ends(stable=12, high=12)})
    assert lag_of(lag, position=9, stable=9).open_transaction_s == 0.0


def test_a_transaction_seen_ended_by_the_consumer_is_over(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(stable=5, high=9)})
    clock.now_s += 7
    assert lag_of(lag, position=10, stable=10) == Lag(
        stable_records=0, records=0, stable=10, open_transaction_s=0.0
    )


def test_a_partition_without_an_answer_keeps_its_last_ends(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(stable=5, high=9), EVENTS_1: Ends(stable=3, high=3)})
    clock.now_s += 2
    lag.update({EVENTS_1: Ends(stable=4, high=4)})
    clock.now_s += 1
    assert lag_of(lag, position=5, stable=5) == Lag(
        stable_records=0, records=4, stable=5, open_transaction_s=3.0
    )


def test_silence_is_counted_from_the_last_answer(lag: InputLag, clock: Clock) -> None:
    clock.now_s += 4
    lag.update({})
    assert lag.silent_s == 4
    lag.update({EVENTS_0: Ends(stable=1, high=1)})
    assert lag.silent_s == 0
