"""A replay reads events and outcomes in the order in which they were read live, wherever old scores tell it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import InfluenceScore, Source
from schemas.wire import Codec
from stream.replay.known_order import KnownOrder
from stream.replay.ordering import MergedOrder, Room
from stream.replay.plan import Span
from stream.replay.streams import Record
from tests.support.memory_streams import MemoryStream

EVENTS, OUTCOMES, SCORES, ELSEWHERE = "t.events", "t.outcomes", "t.scores", "other.events"
PARTITION = 3
MOST = 1_000
CODEC = Codec(InfluenceScore)

Read = tuple[str, int]
"""What was read: the topic and the offset."""


@dataclass
class Live:
    """What a worker read of a partition, in order, and what the topics hold afterwards."""

    events: list[Record] = field(default_factory=list)
    outcomes: list[Record] = field(default_factory=list)
    order: list[Read] = field(default_factory=list)
    scored: list[tuple[int, int]] = field(default_factory=list)
    """of each event that got a score: its offset, and which outcome was the next"""
    events_end: int = 0
    outcomes_end: int = 0

    def outcomes_before(self) -> dict[int, set[int]]:
        """By the offset of an event, the outcomes that were read before it."""
        return before_each(self.order)


def before_each(order: list[Read]) -> dict[int, set[int]]:
    """By the offset of an event, the outcomes that stand before it."""
    found: dict[int, set[int]] = {}
    passed: set[int] = set()
    for topic, offset in order:
        if topic == OUTCOMES:
            passed.add(offset)
        else:
            found[offset] = set(passed)
    return found


@st.composite
def lives(draw: st.DrawFn) -> Live:
    """A live reading: holes before any record, times in no order, events without a score, holes at both ends."""
    live = Live(outcomes_end=draw(st.integers(0, 2)))
    outcomes_next = live.outcomes_end
    steps = st.tuples(
        st.sampled_from(["event", "event", "outcome", "outcome", "dead letter"]),
        st.sampled_from([0, 0, 0, 1, 2]),
        st.integers(0, 2),
    )
    fewest = draw(st.sampled_from([0, 6, 12]))  # else nearly all lists are short
    for what, hole, time in draw(st.lists(steps, min_size=fewest, max_size=24)):
        if what == "outcome":
            record = Record(OUTCOMES, PARTITION, live.outcomes_end + hole, time, b"", b"")
            live.outcomes.append(record)
            live.outcomes_end = outcomes_next = record.offset + 1
        else:
            record = Record(EVENTS, PARTITION, live.events_end + hole, time, b"", b"")
            live.events.append(record)
            live.events_end = record.offset + 1
            if what == "event":
                live.scored.append((record.offset, outcomes_next))
        live.order.append((record.topic, record.offset))
    live.events_end += draw(st.integers(0, 2))
    live.outcomes_end += draw(st.integers(0, 2))
    return live


def old_score(event: int, outcomes_next: int, topic: str = EVENTS, partition: int = PARTITION) -> bytes:
    """A live score, as its topic holds it."""
    source = Source(topic, partition, event)
    return CODEC.encode(
        InfluenceScore("e", "u", "", 0.5, 0.5, 0.5, "v", "fp32", 0, False, False, source, outcomes_next, 0, 0)
    )


STRANGE = st.one_of(
    st.just(b"?"),
    st.builds(old_score, st.integers(0, 20), st.integers(0, 20), st.just(ELSEWHERE)),
    st.builds(old_score, st.integers(0, 20), st.integers(0, 20), st.just(EVENTS), st.just(PARTITION + 1)),
)


@st.composite
def score_topics(draw: st.DrawFn, live: Live) -> tuple[list[Record], dict[int, int]]:
    """The topic of old scores, and what it tells: scores that begin late or end early, and go back once.

    Between them stand other events' and records that nobody can read; markers leave holes.
    """
    count = len(live.scored)
    first = draw(st.just(0) | st.integers(0, count))
    last = draw(st.just(count) | st.integers(first, count))
    told = live.scored[first:last]
    until = draw(st.integers(0, len(told)))
    again = draw(st.integers(0, until))
    values = [old_score(*one) for one in (*told[:until], *told[again:])]
    for value in draw(st.lists(STRANGE, max_size=4)):
        values.insert(draw(st.integers(0, len(values))), value)
    offset, records = 0, []
    for value in values:
        offset += draw(st.integers(1, 2))
        records.append(Record(SCORES, PARTITION, offset, 0, None, value))
    return records, dict(told)


@st.composite
def stories(draw: st.DrawFn) -> tuple[Live, list[Record], dict[int, int]]:
    """A live reading, its topic of scores, and which events that one tells of."""
    live = draw(lives())
    return (live, *draw(score_topics(live)))


def plenty() -> Room:
    """Room for whatever comes."""
    return Room(MOST, MOST)


class Replayed:
    """Reads a story, from a place on, and notes what it came to."""

    def __init__(
        self, live: Live, scores: list[Record] | None, begin: tuple[int, int, int] = (0, 0, 0)
    ) -> None:
        self.live, self.scores = live, scores
        events_at, outcomes_at, scores_at = begin
        old = None
        if scores is not None:
            old = MemoryStream(scores, Span(scores_at, scores[-1].offset + 1 if scores else 0))
        self.known = KnownOrder(old, CODEC.decode, EVENTS)
        self.order = MergedOrder(
            (EVENTS, OUTCOMES),
            PARTITION,
            MemoryStream(live.events, Span(events_at, live.events_end)),
            MemoryStream(live.outcomes, Span(outcomes_at, live.outcomes_end)),
            self.known,
        )
        self.read: list[Read] = []
        self.outcomes_next: dict[int, int] = {}
        """by the offset of an event: what its score would tell"""

    @property
    def place(self) -> tuple[int, int, int]:
        """Where reading goes on."""
        return self.order.events_next, self.order.outcomes_next, self.known.position

    def batches(self, stop: int, sizes: Iterator[int]) -> Iterator[list[Read]]:
        """Read on batch by batch, each at most as large as the next of the sizes."""
        while (batch := self.order.next(stop, size := next(sizes), plenty())) is not None:
            assert 0 < len(batch.records) <= size
            assert (batch.partition, batch.base, batch.next) == (
                PARTITION,
                batch.records[0].offset,
                batch.records[-1].offset + 1,
            )
            read = [(batch.topic, record.offset) for record in batch.records]
            assert {record.topic for record in batch.records} == {batch.topic}
            if batch.topic == EVENTS:
                self.outcomes_next |= {offset: self.order.outcomes_next for _, offset in read}
            self.read += read
            yield read

    def to_the_end(self, sizes: Iterator[int]) -> "Replayed":
        """Read all of the events, and then what is left of the outcomes."""
        for _ in self.batches(self.live.events_end, sizes):
            pass
        while (batch := self.order.outcomes_to(self.live.outcomes_end, next(sizes), plenty())) is not None:
            self.read += [(batch.topic, record.offset) for record in batch.records]
        return self


def repeated(sizes: list[int]) -> Iterator[int]:
    """The sizes, and then batches of any size."""
    yield from sizes
    while True:
        yield MOST


def plain_order(live: Live, told: Mapping[int, int]) -> list[Read]:
    """The contract of the order, said plainly."""
    order: list[Read] = []
    waiting = list(live.outcomes)

    def take_while_before(limit: int, time: float) -> None:
        while waiting and waiting[0].offset < limit and waiting[0].timestamp <= time:
            order.append((OUTCOMES, waiting.pop(0).offset))

    for event in live.events:
        later = [limit for offset, limit in told.items() if offset >= event.offset]
        if event.offset in told:
            take_while_before(told[event.offset], float("inf"))
        elif not later:
            take_while_before(MOST, event.timestamp)
        elif event.offset < min(told):
            take_while_before(later[0], event.timestamp)
        order.append((EVENTS, event.offset))
    return order + [(OUTCOMES, one.offset) for one in waiting]


SIZES = st.lists(st.integers(1, 4), max_size=60)


@settings(deadline=None, max_examples=100)
@given(story=stories(), sizes=SIZES)
def test_an_event_whose_old_score_is_there_comes_after_the_outcomes_that_it_came_after_live(
    story: tuple[Live, list[Record], dict[int, int]], sizes: list[int]
) -> None:
    live, scores, told = story
    replayed = Replayed(live, scores).to_the_end(repeated(sizes))
    ours, theirs = before_each(replayed.read), live.outcomes_before()
    assert {offset: ours[offset] for offset in told} == {offset: theirs[offset] for offset in told}
    # What the new score tells is what the old one told, so that it tells the order as well.
    assert {offset: replayed.outcomes_next[offset] for offset in told} == told
    for topic, records in ((EVENTS, live.events), (OUTCOMES, live.outcomes)):
        assert [offset for at, offset in replayed.read if at == topic] == [one.offset for one in records]


@settings(deadline=None, max_examples=200)
@given(live=lives(), sizes=SIZES)
def test_with_all_scores_there_the_order_is_the_live_one_but_for_events_that_had_no_text(
    live: Live, sizes: list[int]
) -> None:
    scores = [
        Record(SCORES, PARTITION, n, 0, None, old_score(*one)) for n, one in enumerate(live.scored, start=1)
    ]
    replayed = Replayed(live, scores).to_the_end(repeated(sizes))
    scored = dict(live.scored)
    last = max(scored, default=-1)

    def texts(order: list[Read]) -> list[Read]:
        """The order up to the last event with a score, without those that had none."""
        end = order.index((EVENTS, last)) + 1 if scored else 0
        return [one for one in order[:end] if one[0] == OUTCOMES or one[1] in scored]

    assert texts(replayed.read) == texts(live.order)


@settings(deadline=None, max_examples=100)
@given(story=stories(), sizes=SIZES)
def test_elsewhere_kafkas_time_decides_and_outcomes_come_first_at_equal_times(
    story: tuple[Live, list[Record], dict[int, int]], sizes: list[int]
) -> None:
    live, scores, told = story
    assert Replayed(live, scores).to_the_end(repeated(sizes)).read == plain_order(live, told)
    assert Replayed(live, None).to_the_end(repeated(sizes)).read == plain_order(live, {})


@settings(deadline=None, max_examples=100)
@given(story=stories(), sizes=st.lists(st.integers(1, 3), max_size=30), stop=st.integers(0, 40))
def test_after_an_interruption_anywhere_reading_goes_on_as_if_there_had_been_none(
    story: tuple[Live, list[Record], dict[int, int]], sizes: list[int], stop: int
) -> None:
    live, scores, _ = story
    whole, todo = Replayed(live, scores), repeated(sizes)
    places = [(whole.place, 0)]
    for end in (stop, live.events_end):  # a step of a replay ends at any offset
        places += [(whole.place, len(whole.read)) for _ in whole.batches(end, todo)]
        places.append((whole.place, len(whole.read)))
    whole.to_the_end(todo)
    for place, done in places:
        again = Replayed(live, scores, place).to_the_end(repeated([]))
        assert whole.read[:done] + again.read == whole.read
        assert again.outcomes_next.items() <= whole.outcomes_next.items()


@settings(deadline=None, max_examples=200)
@given(live=lives(), stop=st.integers(0, 40), most=st.integers(1, 5), outcomes_stop=st.integers(0, 40))
def test_a_stop_is_kept_by_events_and_by_the_outcomes_that_are_asked_for_without_them(
    live: Live, stop: int, most: int, outcomes_stop: int
) -> None:
    replayed = Replayed(live, None)
    for _ in replayed.batches(stop, repeated([])):
        pass
    events = [offset for topic, offset in replayed.read if topic == EVENTS]
    assert events == [record.offset for record in live.events if record.offset < stop]
    assert replayed.order.events_next >= stop  # all before it is read, be it a hole
    before = sum(topic == OUTCOMES for topic, _ in replayed.read)
    taken: list[int] = []
    while (batch := replayed.order.outcomes_to(outcomes_stop, most, plenty())) is not None:
        assert len(batch.records) <= most
        taken += [record.offset for record in batch.records]
    left = [record.offset for record in live.outcomes[before:]]
    assert taken == [offset for offset in left if offset < outcomes_stop]
