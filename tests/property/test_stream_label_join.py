"""Labels do not depend on arrival order within the grace, duplicates or restarts, and no state is left behind."""

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, Outcome
from schemas.state_records import DueList, JoinClock, PendingLabel, Witnesses
from stream.replay.streams import Record
from stream.scoring.labels import due_lists
from stream.scoring.labels.rules import JoinSettings, Rule
from tests.support.plain_labels import labels_of
from tests.support.processing import NOW_MS, Processing, event, outcome

MINUTE = 60_000
BEGAN = NOW_MS - 600 * MINUTE
HORIZON, GRACE = 60, 10  # minutes

SETTINGS = st.builds(
    JoinSettings,
    rules=st.sampled_from(
        [(), (Rule("view", "purchase", 30 * MINUTE), Rule("view", "cart", HORIZON * MINUTE, 0.5))]
    ),
    weights=st.sampled_from([{}, {"cart": 0.5, "purchase": 1.0}]),
    negative=st.sampled_from([None, 0.0]),
    horizon_ms=st.just(HORIZON * MINUTE),
    grace_ms=st.just(GRACE * MINUTE),
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.integers(0, 150),
        st.sampled_from(["view", "view", "cart", "purchase"]),
        st.sampled_from(["", "i1", "i2"]),
    ),
    min_size=1,
    max_size=15,
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[BehaviorEvent], list[Outcome]]:
    """Draw events of two and a half hours; some have an outcome, in time or late; one outcome may lack an event."""
    numbers = count()
    events = [
        event(f"e{next(numbers)}", user, BEGAN + minute * MINUTE, action=action, item_id=item)
        for user, minute, action, item in draw(EVENTS)
    ]
    outcomes = []
    for one in events:
        after = draw(st.sampled_from([None, None, 0, 5, HORIZON, HORIZON + 1, 3 * HORIZON]))
        if after is not None:
            observed = outcome(one.event_id, one.user_id, y=draw(st.sampled_from([0.0, 1.0])), z=0.25)
            observed.observed_at = one.occurred_at + after * MINUTE
            outcomes.append(observed)
    if draw(st.booleans()):
        without_event = outcome("no-such-event", "ann")
        without_event.observed_at = BEGAN
        outcomes.append(without_event)
    return events, outcomes


def time_of(one: BehaviorEvent | Outcome) -> int:
    return one.occurred_at if isinstance(one, BehaviorEvent) else one.observed_at


def deliver(processing: Processing, arrivals: list[BehaviorEvent | Outcome], steps: list[str]) -> None:
    """Read records one by one; after each, open a unit, commit, or drop and read again, by the steps."""
    records: list[Record] = [processing.record(one) for one in arrivals]
    todo = iter(steps)
    processing.open()
    while unread := [record for record in records if record.offset >= processing.reached_by(record)]:
        for record in unread:
            processing.read([record])
            step = next(todo, "go on")
            if step == "commit":
                processing.commit()
            if step == "drop":
                processing.drop()
            if step == "cut" or not processing.open_units:
                processing.open()
            if step == "drop":
                break
    while processing.open_units:
        processing.commit()


@settings(deadline=None)
@given(
    history=histories(),
    join=SETTINGS,
    jitter=st.lists(st.integers(0, GRACE * MINUTE - 1), min_size=31, max_size=31),
    doubled=st.sets(st.integers(0, 30)),
    steps=st.lists(st.sampled_from(["go on", "go on", "cut", "commit", "drop"]), max_size=40),
)
def test_any_arrival_within_the_grace_gives_the_same_labels(
    tokenizer: BehaviourTokenizer,
    history: tuple[list[BehaviorEvent], list[Outcome]],
    join: JoinSettings,
    jitter: list[int],
    doubled: set[int],
    steps: list[str],
) -> None:
    events, outcomes = history
    everything: list[BehaviorEvent | Outcome] = [*events, *outcomes]
    sent = [one for index, one in enumerate(everything) for _ in range(1 + (index in doubled))]
    order = sorted(range(len(sent)), key=lambda index: time_of(sent[index]) + jitter[index % len(jitter)])
    processing = Processing(tokenizer, join=join)
    deliver(processing, [sent[index] for index in order], steps)
    # Time passes: open events fall due, and after another grace period their state is deleted.
    later = [event(f"later{n}", f"other{n % 5}", NOW_MS - 300 * MINUTE + n) for n in range(40)]
    much_later = [event(f"much-later{n}", f"other{n % 5}", NOW_MS - 100 * MINUTE + n) for n in range(40)]
    deliver(processing, [*later, *much_later], [])
    examples = [one for one in processing.published.examples if one.user_id in {"ann", "bob"}]
    assert len({one.event_id for one in examples}) == len(examples)
    assert {(one.event_id, one.y, one.z) for one in examples} == labels_of(events, outcomes, join)
    for one in examples:
        score = next(score for score in processing.published.scores if score.event_id == one.event_id)
        assert (one.y_hat, one.z_hat, one.model_version) == (score.y_hat, score.z_hat, score.model_version)
    kept = [processing.pending.codec.loads(raw) for raw in processing.pending.stored.values()]
    waiting = [state for state in kept if isinstance(state, PendingLabel)]
    assert len(waiting) == len(much_later)  # no state of the drawn history is left
    assert sum(isinstance(state, JoinClock) for state in kept) == 1
    assert sum(isinstance(state, Witnesses) for state in kept) == 1
    assert len(kept) <= 2 * len(much_later) + 2
    assert len(processing.estimates.stored) == 2 * len(much_later)  # an estimate and a snapshot per event


def test_a_signal_stays_until_events_ahead_of_stream_time_settle(
    tokenizer: BehaviourTokenizer,
) -> None:
    join = JoinSettings(
        rules=(Rule("view", by="cart", within_ms=HORIZON * MINUTE, y=0.5),),
        negative=None,
        horizon_ms=HORIZON * MINUTE,
        grace_ms=GRACE * MINUTE,
    )
    events = [
        event("first", "bob", BEGAN),
        # With two users far apart, stream time stays behind both.
        event("second", "ann", BEGAN + 65 * MINUTE),
        event("viewed", "bob", BEGAN + 66 * MINUTE, action="view", item_id="i2"),
        event("carted", "bob", BEGAN + 75 * MINUTE, action="cart", item_id="i2"),
        event("third", "ann", BEGAN + 85 * MINUTE),
        event("fourth", "ann", BEGAN + 95 * MINUTE),
    ]
    # The outcomes advance stream time in steps.
    outcomes = [outcome("carted", "bob"), outcome("fourth", "ann")]
    outcomes[0].observed_at, outcomes[1].observed_at = BEGAN + 135 * MINUTE, BEGAN + 155 * MINUTE
    processing = Processing(tokenizer, join=join)
    deliver(processing, [*events, *outcomes], [])
    later = [event(f"later{n}", f"other{n % 5}", NOW_MS - 300 * MINUTE + n) for n in range(40)]
    much_later = [event(f"much-later{n}", f"other{n % 5}", NOW_MS - 100 * MINUTE + n) for n in range(40)]
    deliver(processing, [*later, *much_later], [])
    assert ("viewed", 0.5) in {(one.event_id, one.y) for one in processing.published.examples}


@settings(deadline=None, max_examples=40)
@given(
    history=histories(),
    join=SETTINGS,
    most=st.integers(1, 4),
    cuts=st.lists(st.integers(1, 12), max_size=20),
)
def test_short_due_lists_give_the_same_labels_as_long_ones(
    tokenizer: BehaviourTokenizer,
    history: tuple[list[BehaviorEvent], list[Outcome]],
    join: JoinSettings,
    most: int,
    cuts: list[int],
) -> None:
    """Time jumps within a batch, so that cursors point into lists that are not split yet."""
    events, outcomes = history
    later = [event(f"later{n}", f"other{n % 5}", NOW_MS - (300 - 50 * (n % 4)) * MINUTE) for n in range(20)]
    results = []
    for entries in (512, most):
        processing = Processing(tokenizer, join=join)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(due_lists, "_MAX_DUE", entries)
            if outcomes:
                processing.deliver(*outcomes)
            todo: list[BehaviorEvent] = [*events, *later, event("end", "cem", NOW_MS)]
            for size in [*cuts, len(todo)]:
                batch, todo = todo[:size], todo[size:]
                if batch:
                    processing.deliver(*batch)
        kept = [processing.pending.codec.loads(raw) for raw in processing.pending.stored.values()]
        states = [state for state in kept if not isinstance(state, DueList | JoinClock)]
        results.append((processing.published.examples, states))
    assert results[0] == results[1]
