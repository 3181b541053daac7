"""A worker's snapshots are bitwise equal to the trainer's, for any batches."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.features.history import PAST
from model.features.keys import text_key
from model.features.snapshot import Snapshot
from model.jobs import LateText
from model.reading import Reading
from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, Outcome
from stream.scoring.behaviours import BehaviourLimits, behaviour_of
from stream.scoring.labels.rules import JoinSettings
from stream.scoring.windows import WindowLimits
from tests.property.test_stream_interleaving import CUTS, INPUTS, LIMITS, MAX_CHARS, STEPS, Story, play
from tests.support.processing import NOW_MS, Processing
from trainer.snapshots import Pair, StreamSettings
from trainer.snapshots import snapshots as labelled_snapshots

FOR_EVER = JoinSettings(horizon_ms=10**12, grace_ms=0)
ITEMS = ("", "a", "b", "c")
SHARES = st.floats(0, 1)
GAPS_MS = st.sampled_from([0, 1, 400, 70_000, 86_400_000])
ROWS = st.tuples(st.sampled_from("uv"), st.sampled_from(ITEMS), GAPS_MS, SHARES, st.none() | SHARES)


def pairs_of(rows: Sequence[tuple[str, str, int, float, float | None]]) -> list[Pair]:
    """Return events in time order, each with its outcome."""
    at_ms, pairs = NOW_MS - 40 * 86_400_000, []
    for place, (user, item, gap_ms, y, z) in enumerate(rows):
        at_ms += gap_ms
        event = BehaviorEvent(f"e{place}", user, "watch", at_ms, item_id=item, item_text=f"film {item}")
        pairs.append((event, Outcome(f"e{place}", user, y=y, z=z, observed_at=at_ms)))
    return pairs


def arrivals(pairs: Sequence[Pair], delay_ms: int) -> Iterator[BehaviorEvent | Outcome]:
    """Yield events in order, and each outcome before the first event at least `delay_ms` after its own event."""
    waiting: deque[Pair] = deque()
    for event, outcome in pairs:
        while waiting and waiting[0][0].occurred_at + delay_ms <= event.occurred_at:
            yield waiting.popleft()[1]
        yield event
        waiting.append((event, outcome))


def deliver(processing: Processing, records: Sequence[Any], steps: Sequence[str]) -> None:
    """Read records one by one, and take one step after each."""
    todo = iter(steps)
    processing.open()
    for record in records:
        processing.read([processing.record(record)])
        step = next(todo, "go on")
        if step == "cut":
            processing.open()
        if step == "commit":
            while processing.open_units:
                processing.commit()
            processing.open()
    while processing.open_units:
        processing.commit()


def snapshots(processing: Processing) -> list[Snapshot]:
    """Return the snapshot of each event, in order, decoded from its bytes."""
    pending = [one for context in processing.published.contexts for one in context.pending]
    found = [one.text.snapshot if isinstance(one.text, LateText) else one.snapshot for one in pending]
    return [Snapshot.decode(one.encode()) for one in found if one is not None]


@pytest.mark.parametrize("reading", Reading)
@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(ROWS, min_size=1, max_size=25),
    delay_ms=st.sampled_from([0, 1000, 70_000]),
    most=st.integers(1, 6),
    steps=st.lists(st.sampled_from(["go on", "cut", "commit"]), max_size=50),
)
def test_worker_snapshots_equal_trainer_snapshots(
    tokenizer: BehaviourTokenizer,
    reading: Reading,
    rows: list[tuple[str, str, int, float, float | None]],
    delay_ms: int,
    most: int,
    steps: list[str],
) -> None:
    def text_of(event: BehaviorEvent) -> str:
        behaviour, _ = behaviour_of(event, 0, BehaviourLimits())
        return tokenizer.target(behaviour).text

    pairs = pairs_of(rows)
    wanted = StreamSettings(delay_ms=delay_ms, max_behaviours=most)
    expected = [one.snapshot.encode() for one in labelled_snapshots(pairs, text_of, wanted)]

    processing = Processing(tokenizer, windows=WindowLimits(most, 10_000), join=FOR_EVER, reading=reading)
    deliver(processing, list(arrivals(pairs, delay_ms)), steps)
    found = snapshots(processing)
    assert [one.encode() for one in found] == expected


@settings(deadline=None, max_examples=60)
@given(inputs=INPUTS, limits=LIMITS, cuts=CUTS, steps=STEPS)
def test_batches_units_and_restarts_do_not_change_snapshots(
    tokenizer: BehaviourTokenizer, inputs: list[Any], limits: WindowLimits, cuts: list[bool], steps: list[str]
) -> None:
    """The inputs are in any order and contain duplicate events and repeated outcomes."""
    made = []
    for each, then in ((cuts, steps), ([True] * len(inputs), ["commit"] * len(inputs))):
        processing = Processing(tokenizer, windows=limits, behaviours=BehaviourLimits(MAX_CHARS))
        play(processing, Story.of(processing, inputs), each, then)
        made.append(processing)
    one, other = made
    assert [example.snapshot for example in one.published.examples] == [
        example.snapshot for example in other.published.examples
    ]
    assert all(example.snapshot for example in one.published.examples)
    assert one.items.stored == other.items.stored
    assert one.estimates.stored == other.estimates.stored


@settings(deadline=None, max_examples=40)
@given(inputs=INPUTS, limits=LIMITS, cuts=CUTS, steps=STEPS)
def test_a_snapshot_contains_the_window_before_its_event(
    tokenizer: BehaviourTokenizer, inputs: list[Any], limits: WindowLimits, cuts: list[bool], steps: list[str]
) -> None:
    """A late model gets the same behaviours as a joint one, also for duplicates and unordered events."""
    late, joint = (
        Processing(tokenizer, windows=limits, behaviours=BehaviourLimits(MAX_CHARS), reading=reading)
        for reading in (Reading.LATE, Reading.JOINT)
    )
    for processing in (late, joint):
        play(processing, Story.of(processing, inputs), cuts, steps)
    assert [(one.event_id, one.behaviours, one.duplicate) for one in late.published.scores] == [
        (one.event_id, one.behaviours, one.duplicate) for one in joint.published.scores
    ]
    assert len(late.published.late_texts) == len(late.published.scores)
    for text in late.published.late_texts:
        past = text.snapshot.past
        assert past.dtype == PAST
        assert [text_key(piece.text) for piece in text.pieces()] == past["text"].tolist()
        assert text.snapshot.text_key == text_key(text.piece.text)
        assert (np.diff(past["at_ms"]) >= 0).all()
