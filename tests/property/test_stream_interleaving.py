"""Any interleaving of events and outcomes, in any batches and units, gives the result of a plain loop."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, Outcome
from stream.replay.streams import Record
from stream.scoring.behaviours import BehaviourLimits
from stream.scoring.labels.state import PENDING
from stream.scoring.windows import WindowLimits
from tests.support.plain_labels import PlainLabels
from tests.support.plain_windows import PlainWindows
from tests.support.processing import NOW_MS, Processing, event, outcome, score_of

PARTITION_OF = {"ann": 0, "bob": 1, "cem": 0}
MAX_CHARS = 60

USERS = st.sampled_from(sorted(PARTITION_OF))
IDS = st.integers(0, 9).map("e{}".format)
EVENTS = st.builds(
    lambda user, event_id, minute, text, action, value, item: event(
        event_id, user, NOW_MS - minute * 60_000, item_text=text, action=action, value=value, item_id=item
    ),
    USERS,
    IDS,
    st.integers(0, 20),
    st.sampled_from(["alien", "brazil (1985), dystopia", "🎬 amélie <b>", "x" * 80, ""]),
    st.sampled_from(["watch", "purchase", "stare"]),
    st.sampled_from([None, 3.0, 7200.0]),
    st.sampled_from(["", "i1", "i2"]),
)
OUTCOMES = st.builds(outcome, IDS, USERS, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([None, 0.0, 1.0]))
BAD = st.sampled_from([event(user_id=""), b"?", outcome(y=2.0)])
INPUTS = st.lists(st.one_of(EVENTS, EVENTS, EVENTS, OUTCOMES, OUTCOMES, BAD), max_size=30)
LIMITS = st.builds(WindowLimits, st.integers(1, 6), st.integers(250, 700))
CUTS = st.lists(st.booleans(), max_size=30)
STEPS = st.lists(st.sampled_from(["go on", "go on", "cut", "commit", "drop"]), max_size=40)


class Reference:
    """Processes records one by one, without units, with plain windows and labels."""

    def __init__(self, tokenizer: BehaviourTokenizer, limits: WindowLimits) -> None:
        self.plain: dict[int, PlainWindows] = defaultdict(lambda: PlainWindows(tokenizer, limits, MAX_CHARS))
        self.labels = PlainLabels()
        self.outcomes_next: dict[int, int] = defaultdict(int)
        self.scores: list[tuple[Any, ...]] = []

    def process(self, what: BehaviorEvent | Outcome | bytes, record: Record) -> None:
        if isinstance(what, BehaviorEvent) and what.user_id:
            plain = self.plain[record.partition]
            text, duplicate = plain.event(what, record.offset)
            if not duplicate:
                plain.outcome(self.labels.event(what))
            scored = (*score_of(text), text.behaviours, duplicate, self.outcomes_next[record.partition])
            self.scores.append((record.partition, record.offset, what.event_id, *scored))
        elif isinstance(what, Outcome):
            if what.y <= 1:
                self.plain[record.partition].outcome(self.labels.outcome(what))
            self.outcomes_next[record.partition] += 1


@dataclass
class Story:
    """Inputs and their records, in the order of delivery."""

    inputs: list[Any]
    records: list[Record]

    @classmethod
    def of(cls, processing: Processing, inputs: list[Any]) -> "Story":
        users = [getattr(one, "user_id", "") for one in inputs]
        return cls(
            inputs,
            [
                processing.record(one, partition=PARTITION_OF.get(user, 0))
                for one, user in zip(inputs, users, strict=True)
            ],
        )

    def batches(self, start: int, cuts: list[bool]) -> Iterator[list[Record]]:
        """Yield the records from `start` as batches of one partition, also split after each record with a cut."""
        numbers = iter(range(len(self.records)))
        cut = 0

        def key(record: Record) -> tuple[str, int, int]:
            nonlocal cut
            index = next(numbers) + start
            cut += index < len(cuts) and cuts[index]
            return record.topic, record.partition, cut

        for _key, run in groupby(self.records[start:], key):
            yield list(run)


def play(processing: Processing, story: Story, cuts: list[bool], steps: list[str]) -> None:
    """Deliver the story, take one step after each batch, and commit all units at the end."""
    todo = iter(steps)
    processing.open()
    start = 0
    while True:
        for batch in story.batches(start, cuts):
            processing.read(batch)
            step = next(todo, "go on")
            if step == "commit":
                processing.commit()
            if step == "drop":
                processing.drop()
            if step == "cut" or not processing.open_units:
                processing.open()
            if step == "drop":
                break
        else:
            break
        start = next(
            index
            for index, record in enumerate(story.records)
            if record.offset >= processing.reached_by(record)
        )
    while processing.open_units:
        processing.commit()


@settings(deadline=None)
@given(inputs=INPUTS, limits=LIMITS, cuts=CUTS, steps=STEPS)
def test_any_batches_and_units_equal_the_plain_loop(
    tokenizer: BehaviourTokenizer,
    inputs: list[Any],
    limits: WindowLimits,
    cuts: list[bool],
    steps: list[str],
) -> None:
    processing = Processing(tokenizer, windows=limits, behaviours=BehaviourLimits(MAX_CHARS))
    story = Story.of(processing, inputs)
    play(processing, story, cuts, steps)
    reference = Reference(tokenizer, limits)
    for one, record in zip(story.inputs, story.records, strict=True):
        reference.process(one, record)
    assert [
        (
            score.source.partition,
            score.source.offset,
            score.event_id,
            score.y_hat,
            score.z_hat,
            score.behaviours,
            score.duplicate,
            score.outcomes_next,
        )
        for score in processing.published.scores
    ] == reference.scores
    for user_id, partition in PARTITION_OF.items():
        window = processing.window(user_id, partition)
        assert [entry.behaviour for entry in window.entries] == reference.plain[partition].windows[user_id]
        assert window.floor == reference.plain[partition].floors.get(user_id)
    assert [
        (e.user_id, e.event_id, e.y, e.z) for e in processing.published.examples
    ] == reference.labels.joined
    letters = len(processing.published.dead_letters)
    assert letters == sum(one in (b"?", event(user_id=""), outcome(y=2.0)) for one in inputs)


@settings(deadline=None)
@given(inputs=st.lists(EVENTS, min_size=1, max_size=20), cuts=CUTS)
def test_slicing_a_batch_does_not_change_the_bytes(
    tokenizer: BehaviourTokenizer, inputs: list[BehaviorEvent], cuts: list[bool]
) -> None:
    whole, sliced = Processing(tokenizer), Processing(tokenizer)
    play(whole, Story.of(whole, inputs), [], [])
    play(sliced, Story.of(sliced, inputs), cuts, ["cut"] * len(inputs))
    assert sliced.published.scores == whole.published.scores
    for ours, theirs in zip(sliced.tables, whole.tables, strict=True):
        # The due lists in PENDING depend on the batches.
        if ours.name != PENDING:
            assert ours.stored == theirs.stored
