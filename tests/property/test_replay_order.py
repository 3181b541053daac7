"""A replay reads events and outcomes in their live order wherever old scores record it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

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
UNLIMITED = 1_000
CODEC = Codec(InfluenceScore)

Read = tuple[str, int]
"""The topic and offset of a record that was read."""


@dataclass
class Live:
    """The records that a worker read of a partition, in order, and the topics afterwards."""

    events: list[Record] = field(default_factory=list)
    outcomes: list[Record] = field(default_factory=list)
    order: list[Read] = field(default_factory=list)
    scored: list[tuple[int, int]] = field(default_factory=list)
    """By scored event: its offset, and the offset of the next outcome."""
    events_end: int = 0
    outcomes_end: int = 0

    def outcomes_before(self) -> dict[int, set[int]]:
        """Return the outcomes read before each event, by the event's offset."""
        return before_each(self.order)


def before_each(order: list[Read]) -> dict[int, set[int]]:
    """Return the outcomes before each event in this order, by the event's offset."""
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
    """Draw a live run: gaps before records and at both ends, unordered times, and events without a score."""
    live = Live(outcomes_end=draw(st.integers(0, 2)))
    outcomes_next = live.outcomes_end
    steps = st.tuples(
        st.sampled_from(["event", "event", "outcome", "outcome", "dead letter"]),
        st.sampled_from([0, 0, 0, 1, 2]),
        st.integers(0, 2),
    )
    fewest = draw(st.sampled_from([0, 6, 12]))  # without this, nearly all lists are short
    for what, gap, time in draw(st.lists(steps, min_size=fewest, max_size=24)):
        if what == "outcome":
            record = Record(
                OUTCOMES, PARTITION, offset=live.outcomes_end + gap, timestamp=time, key=b"", value=b""
            )
            live.outcomes.append(record)
            live.outcomes_end = outcomes_next = record.offset + 1
        else:
            record = Record(
                EVENTS, PARTITION, offset=live.events_end + gap, timestamp=time, key=b"", value=b""
            )
            live.events.append(record)
            live.events_end = record.offset + 1
            if what == "event":
                live.scored.append((record.offset, outcomes_next))
        live.order.append((record.topic, record.offset))
    live.events_end += draw(st.integers(0, 2))
    live.outcomes_end += draw(st.integers(0, 2))
    return live


def old_score(event: int, outcomes_next: int, topic: str = EVENTS, partition: int = PARTITION) -> bytes:
    """Return an encoded live score of an event."""
    score = InfluenceScore(
        event_id="e",
        user_id="u",
        item_id="",
        y_hat=0.5,
        z_hat=0.5,
        influence=0.5,
        model_version="v",
        dtype="fp32",
        behaviours=0,
        truncated=False,
        duplicate=False,
        source=Source(topic, partition, event),
        outcomes_next=outcomes_next,
        occurred_at=0,
        scored_at=0,
    )
    return CODEC.encode(score)


UNRELATED = st.one_of(
    st.just(b"?"),
    st.builds(old_score, st.integers(0, 20), st.integers(0, 20), st.just(ELSEWHERE)),
    st.builds(old_score, st.integers(0, 20), st.integers(0, 20), st.just(EVENTS), st.just(PARTITION + 1)),
)


@st.composite
def score_topics(draw: st.DrawFn, live: Live) -> tuple[list[Record], dict[int, int]]:
    """Draw the topic of old scores, and the known `outcomes_next` by event offset.

    The scores may begin late, end early, and go back once. Scores of other events, undecodable records and the gaps
    of markers are among them.
    """
    count = len(live.scored)
    first = draw(st.just(0) | st.integers(0, count))
    last = draw(st.just(count) | st.integers(first, count))
    known_next = live.scored[first:last]
    until = draw(st.integers(0, len(known_next)))
    again = draw(st.integers(0, until))
    values = [old_score(*one) for one in (*known_next[:until], *known_next[again:])]
    for value in draw(st.lists(UNRELATED, max_size=4)):
        values.insert(draw(st.integers(0, len(values))), value)
    offset, records = 0, []
    for value in values:
        offset += draw(st.integers(1, 2))
        records.append(Record(SCORES, PARTITION, offset=offset, timestamp=0, key=None, value=value))
    return records, dict(known_next)


@st.composite
def stories(draw: st.DrawFn) -> tuple[Live, list[Record], dict[int, int]]:
    """Draw a live run, its topic of scores, and the known `outcomes_next` by event offset."""
    live = draw(lives())
    return (live, *draw(score_topics(live)))


def plenty() -> Room:
    """Return room for any batch."""
    return Room(UNLIMITED, UNLIMITED)


class Position(NamedTuple):
    """The next offsets of a replay."""

    events: int
    outcomes: int
    scores: int


START = Position(events=0, outcomes=0, scores=0)


class Replayed:
    """Replays a live run from a position, and records the order and `outcomes_next` of each event."""

    def __init__(self, live: Live, scores: list[Record] | None, begin: Position = START) -> None:
        self.live, self.scores = live, scores
        old = None
        if scores is not None:
            old = MemoryStream(scores, Span(begin.scores, scores[-1].offset + 1 if scores else 0))
        self.known = KnownOrder(old, CODEC.decode, EVENTS)
        self.order = MergedOrder(
            (EVENTS, OUTCOMES),
            PARTITION,
            MemoryStream(live.events, Span(begin.events, live.events_end)),
            MemoryStream(live.outcomes, Span(begin.outcomes, live.outcomes_end)),
            self.known,
        )
        self.read: list[Read] = []
        self.outcomes_next: dict[int, int] = {}
        """By event offset: the `outcomes_next` that its new score contains."""

    @property
    def position(self) -> Position:
        """The position at which reading continues."""
        return Position(self.order.events_next, self.order.outcomes_next, self.known.position)

    def batches(self, stop: int, sizes: Iterator[int]) -> Iterator[list[Read]]:
        """Read batch by batch, each with at most as many records as the next size."""
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
        """Read all events, and then the remaining outcomes."""
        for _ in self.batches(self.live.events_end, sizes):
            pass
        while (batch := self.order.outcomes_to(self.live.outcomes_end, next(sizes), plenty())) is not None:
            self.read += [(batch.topic, record.offset) for record in batch.records]
        return self


def repeated(sizes: list[int]) -> Iterator[int]:
    """Yield the sizes, and then an unlimited size for ever."""
    yield from sizes
    while True:
        yield UNLIMITED


def plain_order(live: Live, known_next: Mapping[int, int]) -> list[Read]:
    """Return the order by its definition."""
    order: list[Read] = []
    waiting = list(live.outcomes)

    def take_while_before(limit: int, time: float) -> None:
        while waiting and waiting[0].offset < limit and waiting[0].timestamp <= time:
            order.append((OUTCOMES, waiting.pop(0).offset))

    for event in live.events:
        later = [limit for offset, limit in known_next.items() if offset >= event.offset]
        if event.offset in known_next:
            take_while_before(known_next[event.offset], float("inf"))
        elif not later:
            take_while_before(UNLIMITED, event.timestamp)
        elif event.offset < min(known_next):
            take_while_before(later[0], event.timestamp)
        order.append((EVENTS, event.offset))
    return order + [(OUTCOMES, one.offset) for one in waiting]


SIZES = st.lists(st.integers(1, 4), max_size=60)


@settings(deadline=None, max_examples=100)
@given(story=stories(), sizes=SIZES)
def test_an_event_with_an_old_score_keeps_its_live_order(
    story: tuple[Live, list[Record], dict[int, int]], sizes: list[int]
) -> None:
    live, scores, known_next = story
    replayed = Replayed(live, scores).to_the_end(repeated(sizes))
    ours, theirs = before_each(replayed.read), live.outcomes_before()
    assert {offset: ours[offset] for offset in known_next} == {
        offset: theirs[offset] for offset in known_next
    }
    # New scores record the same order as old ones, so that they can be replayed again.
    assert {offset: replayed.outcomes_next[offset] for offset in known_next} == known_next
    for topic, records in ((EVENTS, live.events), (OUTCOMES, live.outcomes)):
        assert [offset for at, offset in replayed.read if at == topic] == [one.offset for one in records]


@settings(deadline=None, max_examples=200)
@given(live=lives(), sizes=SIZES)
def test_complete_old_scores_restore_the_live_order(live: Live, sizes: list[int]) -> None:
    scores = [
        Record(SCORES, PARTITION, offset=n, timestamp=0, key=None, value=old_score(*one))
        for n, one in enumerate(live.scored, start=1)
    ]
    replayed = Replayed(live, scores).to_the_end(repeated(sizes))
    scored = dict(live.scored)
    last = max(scored, default=-1)

    def texts(order: list[Read]) -> list[Read]:
        """Return the order up to the last scored event, without events that have no score."""
        end = order.index((EVENTS, last)) + 1 if scored else 0
        return [one for one in order[:end] if one[0] == OUTCOMES or one[1] in scored]

    assert texts(replayed.read) == texts(live.order)


@settings(deadline=None, max_examples=100)
@given(story=stories(), sizes=SIZES)
def test_without_old_scores_kafka_timestamps_decide_the_order(
    story: tuple[Live, list[Record], dict[int, int]], sizes: list[int]
) -> None:
    live, scores, known_next = story
    assert Replayed(live, scores).to_the_end(repeated(sizes)).read == plain_order(live, known_next)
    assert Replayed(live, None).to_the_end(repeated(sizes)).read == plain_order(live, {})


@settings(deadline=None, max_examples=100)
@given(story=stories(), sizes=st.lists(st.integers(1, 3), max_size=30), stop=st.integers(0, 40))
def test_an_interrupted_replay_resumes_in_the_same_order(
    story: tuple[Live, list[Record], dict[int, int]], sizes: list[int], stop: int
) -> None:
    live, scores, _ = story
    whole, todo = Replayed(live, scores), repeated(sizes)
    positions = [(whole.position, 0)]
    # A step of a replay may end at any offset.
    for end in (stop, live.events_end):
        positions += [(whole.position, len(whole.read)) for _ in whole.batches(end, todo)]
        positions.append((whole.position, len(whole.read)))
    whole.to_the_end(todo)
    for position, done in positions:
        again = Replayed(live, scores, position).to_the_end(repeated([]))
        assert whole.read[:done] + again.read == whole.read
        assert again.outcomes_next.items() <= whole.outcomes_next.items()


@settings(deadline=None, max_examples=200)
@given(live=lives(), stop=st.integers(0, 40), most=st.integers(1, 5), outcomes_stop=st.integers(0, 40))
def test_events_and_outcomes_stop_at_their_given_offsets(
    live: Live, stop: int, most: int, outcomes_stop: int
) -> None:
    replayed = Replayed(live, None)
    for _ in replayed.batches(stop, repeated([])):
        pass
    events = [offset for topic, offset in replayed.read if topic == EVENTS]
    assert events == [record.offset for record in live.events if record.offset < stop]
    assert replayed.order.events_next >= stop  # gaps before it are passed too
    before = sum(topic == OUTCOMES for topic, _ in replayed.read)
    taken: list[int] = []
    while (batch := replayed.order.outcomes_to(outcomes_stop, most, plenty())) is not None:
        assert len(batch.records) <= most
        taken += [record.offset for record in batch.records]
    left = [record.offset for record in live.outcomes[before:]]
    assert taken == [offset for offset in left if offset < outcomes_stop]
