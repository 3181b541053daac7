"""Stream time equals its definition, and one wrong clock neither settles nor delays the labels of other users."""

from hypothesis import given, settings
from hypothesis import strategies as st

from model.tokens import BehaviourTokenizer
from stream.scoring.labels.rules import JoinSettings
from stream.scoring.labels.stream_time import StreamTime
from tests.support.plain_labels import PlainStreamTime
from tests.support.processing import NOW_MS, Processing, event

MINUTE = 60_000
HORIZON, GRACE = 60, 10  # minutes
JOIN = JoinSettings(negative=0.0, horizon_ms=HORIZON * MINUTE, grace_ms=GRACE * MINUTE)

RECORDS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 4), st.none()),
        st.one_of(st.integers(0, 300), st.integers(0, 300), st.sampled_from([10_000, 500_000])),
    ),
    max_size=60,
)


@given(records=RECORDS, cuts=st.sets(st.integers(0, 60)), from_older_version=st.booleans())
def test_stream_time_equals_its_definition_after_any_restart(
    records: list[tuple[int | None, int]], cuts: set[int], from_older_version: bool
) -> None:
    at = 1000 * MINUTE if from_older_version else 0
    plain = PlainStreamTime(JOIN, at)
    witnesses = None
    time = StreamTime(at, witnesses, JOIN.step_ms, JOIN.wait_ms)
    for index, (user, minute) in enumerate(records):
        if index in cuts:
            witnesses = time.changed() or witnesses
            time = StreamTime(time.at, witnesses, JOIN.step_ms, JOIN.wait_ms)
        if user is None:
            time.tick(minute * MINUTE)
            assert time.at == plain.tick(minute * MINUTE)
        else:
            time.advance(user, minute * MINUTE)
            assert time.at == plain.read(user, minute * MINUTE)


@settings(deadline=None, max_examples=60)
@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 1, 5, 30, 90])), min_size=1, max_size=60
    ),
    ahead=st.sampled_from([GRACE + 1, 3 * HORIZON, 365 * 24 * 60]),
)
def test_one_wrong_clock_does_not_shift_other_users_labels(
    tokenizer: BehaviourTokenizer, arrivals: list[tuple[int, int]], ahead: int
) -> None:
    """The clock of user 0 is ahead. The other users then continue until all their labels must be settled."""
    later = [(1 + number % 9, 2) for number in range(3 * (HORIZON + GRACE))]
    processing = Processing(tokenizer, join=JOIN)
    minute, read_at = 0, dict[str, int]()
    for number, (user, after) in enumerate([*arrivals, *later]):
        minute += after
        at_ms = NOW_MS + (minute + (0 if user else ahead)) * MINUTE
        read_at[f"e{number}"] = minute
        one = event(f"e{number}", f"user{user}", at_ms)
        before = len(processing.published.examples)
        processing.deliver(processing.record(one, timestamp=at_ms))
        for example in processing.published.examples[before:]:
            waited = minute - read_at[example.event_id]
            assert example.user_id == "user0" or waited >= HORIZON
    settled = {one.event_id for one in processing.published.examples}
    assert {f"e{number}" for number in range(len(arrivals)) if arrivals[number][0]} <= settled
