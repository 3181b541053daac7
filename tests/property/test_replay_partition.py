"""A replayed partition publishes the records of the live run, each offset once, wherever its process crashes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from model.tokens import BehaviourTokenizer, EncodedText
from schemas.records import BehaviorEvent, InfluenceScore, LabeledExample, Outcome
from stream.replay.parquet import DEAD_LETTERS, EXAMPLES, SCORES
from stream.scoring.labels.ticks import tick_at
from tests.support.processing import NOW_MS, TOPICS, event, outcome
from tests.support.replay_stories import MINUTE, Input, core_of, planned, read_live
from tests.support.replayed_partition import TURNS, ReplayedPartition

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

USERS = st.sampled_from(["ann", "bob", "cem"])
IDS = st.integers(0, 9).map("e{}".format)
MINUTES = st.integers(0, 25)
EVENTS = st.builds(
    lambda user, event_id, minute, text, action, item: event(
        event_id, user, NOW_MS - minute * MINUTE, item_text=text, action=action, item_id=item
    ),
    USERS,
    IDS,
    MINUTES,
    st.sampled_from(["alien", "brazil (1985)", "x" * 80]),
    st.sampled_from(["watch", "watch", "purchase"]),
    st.sampled_from(["", "i1", "i2"]),
)


def outcome_at(event_id: str, user: str, minute: int, y: float, z: float | None) -> Outcome:
    """Return an outcome that was observed `minute` minutes ago."""
    one = outcome(event_id, user, y, z)
    one.observed_at = NOW_MS - minute * MINUTE
    return one


OUTCOMES = st.builds(
    outcome_at, IDS, USERS, MINUTES, st.sampled_from([0.0, 1.0]), st.sampled_from([None, 0.5])
)
BAD = st.sampled_from([event(user_id=""), b"?", outcome(y=2.0)])
TICKS = st.integers(-12, 25).map(lambda minute: tick_at(NOW_MS - minute * MINUTE))
GAPS = st.sampled_from([0, 0, 1, 2])  # missing offsets before a record
YEAR = 365 * 24 * 60


def ahead(one: BehaviorEvent, gap: int, minutes: int) -> Input:
    """Return an event of a producer whose clock, which also sets Kafka's timestamp, is ahead by `minutes`."""
    wrong = replace(one, occurred_at=NOW_MS + minutes * MINUTE)
    return Input(wrong, gap=gap, timestamp_delay_ms=minutes * MINUTE)


RIGHT_CLOCK = st.builds(
    Input,
    what=st.one_of(EVENTS, EVENTS, EVENTS, OUTCOMES, OUTCOMES, BAD, TICKS),
    gap=GAPS,
    timestamp_delay_ms=st.integers(0, 3) | st.just(15 * MINUTE),
)
WRONG_CLOCK = st.builds(ahead, EVENTS, GAPS, st.integers(2, 12) | st.integers(YEAR, YEAR + 12))
INPUTS = st.lists(
    st.one_of(RIGHT_CLOCK, RIGHT_CLOCK, RIGHT_CLOCK, RIGHT_CLOCK, WRONG_CLOCK), min_size=16, max_size=32
)


def row_of(record: InfluenceScore | LabeledExample) -> dict[str, Any]:
    """Return a record as a row of Parquet."""
    row = asdict(record)
    row |= {f"source_{name}": value for name, value in row.pop("source", {}).items()}
    times = row.keys() & {"occurred_at", "scored_at", "labeled_at"}
    return row | {name: EPOCH + timedelta(milliseconds=row[name]) for name in times}


@contextmanager
def folders() -> Iterator[Iterator[Path]]:
    """Yield an iterator of new empty folders."""
    with tempfile.TemporaryDirectory() as folder:
        yield (Path(tempfile.mkdtemp(dir=folder)) for _ in iter(int, 1))


SIZES = st.fixed_dictionaries(
    {
        "skipped": st.integers(0, 3),
        "warm_up": st.integers(0, 6),
        "scored": st.integers(3, 30),
        "run_out": st.integers(0, 20),
    }
)
EVERYTHING = 99
BATCHES = st.integers(1, 9)
ORDER_OF_WORK = st.lists(st.sampled_from(TURNS), max_size=60)


@settings(deadline=None, max_examples=20)
@given(inputs=INPUTS, sizes=SIZES, batch_records=BATCHES, turns=ORDER_OF_WORK)
def test_a_replay_publishes_what_was_published_live(
    tokenizer: BehaviourTokenizer,
    inputs: list[Input],
    sizes: dict[str, int],
    batch_records: int,
    turns: list[str],
) -> None:
    core = core_of(tokenizer)
    story = read_live(core, inputs)
    plan = planned(
        story, warm_up=sizes["warm_up"], scored=sizes["scored"], run_out=EVERYTHING, with_labels=True
    )
    with folders() as new:
        done = ReplayedPartition(
            next(new), core, plan, story.topics, batch_records=batch_records, turns=turns
        ).run()
        published = done.published()
    scored = plan.partitions[0].scored
    assert published[SCORES] == [
        row_of(score) for score in story.live.scores if scored.start <= score.source.offset < scored.end
    ]
    assert [
        row["source_offset"] for row in published[DEAD_LETTERS] if row["source_topic"] == TOPICS.events
    ] == [
        letter.offset
        for letter in story.live.dead_letters
        if letter.topic == TOPICS.events and scored.start <= letter.offset < scored.end
    ]
    # An id that was sent both inside and outside the range is ambiguous; all other examples are the live ones.
    inside = {(one.user_id, one.event_id): set[bool]() for one in story.live.scores}
    for score in story.live.scores:
        inside[score.user_id, score.event_id].add(scored.start <= score.source.offset < scored.end)
    clear = {key for key, places in inside.items() if len(places) == 1}
    assert [row for row in published[EXAMPLES] if (row["user_id"], row["event_id"]) in clear] == [
        row_of(one) for one in story.live.examples if inside[one.user_id, one.event_id] == {True}
    ]


@settings(deadline=None, max_examples=25)
@given(
    inputs=INPUTS,
    sizes=SIZES,
    scores_from=st.integers(0, 20),
    with_labels=st.sampled_from([True, True, False]),
    batch_records=BATCHES,
    turns=ORDER_OF_WORK,
    crashes=st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([True, True, False])), min_size=1, max_size=4
    ),
)
def test_a_crash_anywhere_does_not_change_the_output(
    tokenizer: BehaviourTokenizer,
    inputs: list[Input],
    sizes: dict[str, int],
    scores_from: int,
    with_labels: bool,
    batch_records: int,
    turns: list[str],
    crashes: list[tuple[int, bool]],
) -> None:
    core = core_of(tokenizer)
    story = read_live(core, inputs)
    plan = planned(story, **sizes, with_labels=with_labels, scores_from=scores_from)
    with folders() as new:
        whole = ReplayedPartition(next(new), core, plan, story.topics, batch_records=7, fails=fails).run()
        again = ReplayedPartition(
            next(new),
            core,
            plan,
            story.topics,
            batch_records=batch_records,
            turns=turns,
            crashes=[places for places, _ in crashes],
            store_lost_after=[lost for _, lost in crashes],
            fails=fails,
        ).run()
        published = again.published()
        assert published == whole.published()
        assert not list(again.output.folder.rglob("*.pending"))
    for topic in ("again", "again.examples"):
        assert again.produced(topic) == whole.produced(topic)
    letters = [sorted(run.produced("again.dead-letters"), key=repr) for run in (again, whole)]
    assert letters[0] == letters[1]
    ours, theirs = again.kafka.progress(), whole.kafka.progress()
    assert (ours.events_next, ours.counts, ours.done) == (theirs.events_next, theirs.counts, True)
    assert {kind: ours.counts[kind] for kind in published} == {
        kind: len(rows) for kind, rows in published.items()
    }


def fails(text: EncodedText) -> bool:
    """Return whether the model fails on a text; always the same answer for the same text."""
    return sum(text.ids) % 7 == 0
