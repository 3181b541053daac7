"""A producer with a wrong clock does not settle the labels of other users, even if the topic accepts its times."""

from dataclasses import replace

from model.tokens import BehaviourTokenizer
from schemas.state_records import JoinClock
from schemas.wire import Codec
from stream.scoring.labels.rules import JoinSettings
from stream.scoring.labels.ticks import tick_at
from tests.support.processing import NOW_MS, Processing, event

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEAR = 365 * DAY
NEGATIVES = JoinSettings(negative=0.0)
CLOCKS = Codec(JoinClock)


def deliver(processing: Processing, event_id: str, user_id: str, at_ms: int) -> None:
    """Deliver an event whose own time and Kafka timestamp are equal."""
    processing.deliver(processing.record(event(event_id, user_id, at_ms, item_id="i1"), timestamp=at_ms))


def deliver_tick(processing: Processing, at_ms: int) -> None:
    processing.deliver(processing.record(tick_at(at_ms), timestamp=at_ms))


def deliver_events_of_ten_users(processing: Processing) -> None:
    for number in range(200):
        deliver(processing, f"e{number}", f"user{number % 10}", NOW_MS + number * 1000)


def clock(processing: Processing) -> JoinClock:
    return CLOCKS.decode(processing.pending.stored[0, b"c"])


def settled(processing: Processing) -> set[str]:
    return {one.event_id for one in processing.published.examples}


def test_a_clock_a_year_ahead_settles_no_other_labels(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    deliver_events_of_ten_users(processing)
    for number in range(300):
        deliver(processing, f"bad{number}", "user9", NOW_MS + YEAR + number * MINUTE)
    assert settled(processing) == set()


def test_a_first_clock_a_year_ahead_delays_no_labels(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    for number in range(40):
        deliver(processing, f"bad{number}", "user9", NOW_MS + YEAR + number * 1000)
    deliver_events_of_ten_users(processing)
    for hour in range(1, 25):
        for user in range(9):
            deliver(processing, f"later{hour}-{user}", f"user{user}", NOW_MS + hour * HOUR)
    assert settled(processing) == set()
    for number in range(40):
        deliver(processing, f"end{number}", f"user{number % 9}", NOW_MS + 26 * HOUR)
    assert {f"e{number}" for number in range(200)} <= settled(processing)


def test_a_quiet_week_settles_only_the_waiting_labels(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    deliver_events_of_ten_users(processing)
    for number in range(40):
        deliver(processing, f"new{number}", f"user{number % 10}", NOW_MS + 7 * DAY + number * 1000)
    assert settled(processing) == {f"e{number}" for number in range(200)}


def test_one_user_alone_settles_its_own_labels(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    for year in range(5):
        deliver(processing, f"e{year}", "ann", NOW_MS + year * YEAR)
    assert settled(processing) == {"e0", "e1", "e2", "e3"}


def test_old_events_years_apart_are_settled(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    for year in range(40):
        deliver(processing, f"e{year}", f"user{year % 3 if year < 10 else 3}", NOW_MS + (year - 40) * YEAR)
    assert {f"e{year}" for year in range(24)} <= settled(processing)


def test_ticks_settle_the_labels_of_an_idle_partition(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    deliver_events_of_ten_users(processing)
    for hour in range(1, 26):
        deliver_tick(processing, NOW_MS + hour * HOUR)
        assert settled(processing) == set() or hour == 25
    deliver_tick(processing, NOW_MS + 25 * HOUR + 200_000)
    assert settled(processing) == {f"e{number}" for number in range(200)}
    assert processing.published.contexts[-1].counts["ticks"] == 1


def test_stream_time_left_ahead_by_an_older_version_is_corrected(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    deliver(processing, "bad", "user9", NOW_MS + YEAR)
    # An older version does not write this key.
    del processing.pending.stored[0, b"w"]
    deliver_events_of_ten_users(processing)
    for number in range(40):
        deliver(processing, f"end{number}", f"user{number % 9}", NOW_MS + 26 * HOUR)
    assert {f"e{number}" for number in range(200)} <= settled(processing)


def test_stream_time_moved_by_an_older_version_is_corrected(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    deliver_events_of_ten_users(processing)
    # An older version takes the maximum of all times.
    moved = replace(clock(processing), stream_at=NOW_MS + YEAR)
    processing.pending.stored[0, b"c"] = CLOCKS.encode(moved)
    for number in range(40):
        deliver(processing, f"end{number}", f"user{number % 9}", NOW_MS + 26 * HOUR)
    deliver(processing, "last", "user1", NOW_MS + 26 * HOUR)
    assert clock(processing).stream_at <= NOW_MS + 26 * HOUR


def test_a_single_user_advances_stream_time_despite_ticks(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    deliver_events_of_ten_users(processing)
    began = NOW_MS + 10 * DAY
    for hour in range(72):
        deliver(processing, f"ann{hour}", "ann", began + hour * HOUR)
        deliver_tick(processing, clock(processing).stream_at + HOUR)
    assert clock(processing).stream_at >= began + 70 * HOUR
