"""Lag by what the consumer has fetched and by what the brokers say: neither alone sees all."""

import pytest

from stream.exactly_once.units.lag import Ends, InputLag, Lag
from stream.exactly_once.units.records import TopicPartition

EVENTS_0, EVENTS_1 = TopicPartition("events", 0), TopicPartition("events", 1)


class Clock:
    """Stands still until a test moves it."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lag(clock: Clock) -> InputLag:
    return InputLag(clock)


def test_before_the_brokers_have_said_anything_it_is_what_the_consumer_knows(lag: InputLag) -> None:
    assert lag.of({EVENTS_0: (3, 10)}) == {EVENTS_0: Lag(7, 7, 10, 0.0)}


def test_a_fetcher_that_has_stopped_has_the_lag_that_the_brokers_tell_of(lag: InputLag) -> None:
    fetched = {EVENTS_0: (5, 5)}  # and never more: nobody fetches
    lag.update({EVENTS_0: Ends(5, 5)})
    assert lag.of(fetched)[EVENTS_0].stable_records == 0
    lag.update({EVENTS_0: Ends(9, 9)})
    assert lag.of(fetched)[EVENTS_0] == Lag(4, 4, 9, 0.0)


def test_what_the_consumer_has_heard_since_counts_too(lag: InputLag) -> None:
    lag.update({EVENTS_0: Ends(5, 6)})
    assert lag.of({EVENTS_0: (12, 20)})[EVENTS_0] == Lag(8, 8, 20, 0.0)


def test_behind_an_open_transaction_records_wait_and_nothing_is_stable(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(5, 9)})
    clock.now_s += 7
    assert lag.of({EVENTS_0: (5, 5)})[EVENTS_0] == Lag(0, 4, 5, 7.0)
    lag.update({EVENTS_0: Ends(5, 30)})  # others write on
    clock.now_s += 1
    assert lag.of({EVENTS_0: (5, 5)})[EVENTS_0] == Lag(0, 25, 5, 8.0)


def test_the_age_is_that_of_the_transaction_and_not_of_all_of_them(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(5, 9)})
    clock.now_s += 7
    lag.update({EVENTS_0: Ends(9, 12)})  # it has ended; another is open
    clock.now_s += 1
    assert lag.of({EVENTS_0: (9, 9)})[EVENTS_0].open_transaction_s == 1.0
    lag.update({EVENTS_0: Ends(12, 12)})
    assert lag.of({EVENTS_0: (9, 9)})[EVENTS_0].open_transaction_s == 0.0


def test_a_transaction_whose_end_the_consumer_has_seen_first_is_over(lag: InputLag, clock: Clock) -> None:
    lag.update({EVENTS_0: Ends(5, 9)})
    clock.now_s += 7
    assert lag.of({EVENTS_0: (10, 10)})[EVENTS_0] == Lag(0, 0, 10, 0.0)


def test_a_partition_for_which_nobody_answers_keeps_the_last_word(lag: InputLag, clock: Clock) -> None:
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
