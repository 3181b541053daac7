"""A producer whose clock is wrong, on a topic that lets its times pass: it settles nobody else's labels."""

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
    """Deliver an event whose own time and Kafka's are those of one clock."""
    processing.deliver(processing.record(event(event_id, user_id, at_ms, item_id="i1"), timestamp=at_ms))


def deliver_tick(processing: Processing, at_ms: int) -> None:
    processing.deliver(processing.record(tick_at(at_ms), timestamp=at_ms))


def ten_users_with_open_events(processing: Processing) -> None:
    for number in range(200):
        deliver(processing, f"e{number}", f"user{number % 10}", NOW_MS + number * 1000)


def clock(processing: Processing) -> JoinClock:
    return CLOCKS.decode(processing.pending.stored[0, b"c"])


def settled(processing: Processing) -> set[str]:
    return {one.event_id for one in processing.published.examples}


def test_a_clock_a_year_ahead_settles_nobody_elses_labels(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    ten_users_with_open_events(processing)
    for number in range(300):
        deliver(processing, f"bad{number}", "user9", NOW_MS + YEAR + number * MINUTE)
    assert settled(processing) == set()


def test_labels_are_settled_in_time_where_the_first_clock_is_a_year_ahead(
    tokenizer: BehaviourTokenizer,
) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    for number in range(40):
        deliver(processing, f"bad{number}", "user9", NOW_MS + YEAR + number * 1000)
    ten_users_with_open_events(processing)
    for hour in range(1, 25):
        for user in range(9):
            deliver(processing, f"later{hour}-{user}", f"user{user}", NOW_MS + hour * HOUR)
    assert settled(processing) == set()
    for number in range(40):
        deliver(processing, f"end{number}", f"user{number % 9}", NOW_MS + 26 * HOUR)
    assert {f"e{number}" for number in range(200)} <= settled(processing)


def test_a_partition_resumed_after_a_quiet_week_settles_what_waited_and_not_what_is_new(
    tokenizer: BehaviourTokenizer,
) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    ten_users_with_open_events(processing)
    for number in range(40):
        deliver(processing, f"new{number}", f"user{number % 10}", NOW_MS + 7 * DAY + number * 1000)
    assert settled(processing) == {f"e{number}" for number in range(200)}


def test_one_user_alone_settles_its_own_labels(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    for year in range(5):
        deliver(processing, f"e{year}", "ann", NOW_MS + year * YEAR)
    assert settled(processing) == {"e0", "e1", "e2", "e3"}


def test_old_events_with_years_between_them_are_settled(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    for year in range(40):
        deliver(processing, f"e{year}", f"user{year % 3 if year < 10 else 3}", NOW_MS + (year - 40) * YEAR)
    assert {f"e{year}" for year in range(24)} <= settled(processing)


def test_ticks_settle_the_labels_of_an_idle_partition(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    ten_users_with_open_events(processing)
    for hour in range(1, 26):
        deliver_tick(processing, NOW_MS + hour * HOUR)
        assert settled(processing) == set() or hour == 25
    deliver_tick(processing, NOW_MS + 25 * HOUR + 200_000)
    assert settled(processing) == {f"e{number}" for number in range(200)}
    assert processing.published.contexts[-1].counts["ticks"] == 1


def test_stream_time_that_an_older_version_left_a_year_ahead_is_taken_back(
    tokenizer: BehaviourTokenizer,
) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    deliver(processing, "bad", "user9", NOW_MS + YEAR)
    del processing.pending.stored[0, b"w"]  # which an older version does not write
    ten_users_with_open_events(processing)
    for number in range(40):
        deliver(processing, f"end{number}", f"user{number % 9}", NOW_MS + 26 * HOUR)
    assert {f"e{number}" for number in range(200)} <= settled(processing)


def test_stream_time_that_an_older_version_has_moved_since_is_taken_back(
    tokenizer: BehaviourTokenizer,
) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    ten_users_with_open_events(processing)
    moved = replace(clock(processing), stream_at=NOW_MS + YEAR)  # by an older version's rule, the maximum
    processing.pending.stored[0, b"c"] = CLOCKS.encode(moved)
    for number in range(40):
        deliver(processing, f"end{number}", f"user{number % 9}", NOW_MS + 26 * HOUR)
    deliver(processing, "last", "user1", NOW_MS + 26 * HOUR)
    assert clock(processing).stream_at <= NOW_MS + 26 * HOUR


def test_one_user_who_stays_alone_is_believed_though_ticks_come_between(
    tokenizer: BehaviourTokenizer,
) -> None:
    processing = Processing(tokenizer, join=NEGATIVES)
    ten_users_with_open_events(processing)
    began = NOW_MS + 10 * DAY
    for hour in range(72):
        deliver(processing, f"ann{hour}", "ann", began + hour * HOUR)
        deliver_tick(processing, clock(processing).stream_at + HOUR)
    assert clock(processing).stream_at >= began + 70 * HOUR
