"""What old scores tell of the outcomes before an event, and from where that can be told again.

That this is the live order is a property: tests/property/test_replay_order.py.
"""

from schemas.records import InfluenceScore, Source
from schemas.wire import Codec
from stream.replay.known_order import ALL_BY_TIME, Before, KnownOrder
from stream.replay.plan import Span
from stream.replay.streams import Record
from tests.support.memory_streams import MemoryStream

CODEC = Codec(InfluenceScore)


def old_score(event: int, outcomes_next: int) -> bytes:
    """A live score, as its topic holds it."""
    source = Source("t.events", 0, event)
    return CODEC.encode(
        InfluenceScore("e", "u", "", 0.5, 0.5, 0.5, "v", "fp32", 0, False, False, source, outcomes_next, 0, 0)
    )


SCORES = [
    Record("t.scores", 0, 10 * number, 0, None, old_score(*one))
    for number, one in enumerate([(2, 1), (5, 4), (2, 1), (5, 4), (9, 7)])
]
"""A worker went back to its beginning in the middle."""


def known_from(position: int) -> KnownOrder:
    return KnownOrder(MemoryStream(SCORES, Span(position, 50)), CODEC.decode, "t.events")


def event(offset: int) -> Record:
    return Record("t.events", 0, offset, 0, None, None)


def test_a_score_tells_its_event_and_what_has_none_of_its_own_lies_before_or_between_or_after() -> None:
    known = known_from(0)
    assert known.before(event(0)) == Before(
        1, by_time=True
    )  # by time, and no further than was read live later
    assert known.before(event(2)) == Before(1, by_time=False)
    assert known.before(event(3)) == Before(0, by_time=False)
    assert known.before(event(5)) == Before(4, by_time=False)
    assert known.before(event(6)) == Before(0, by_time=False)
    assert known.before(event(9)) == Before(7, by_time=False)
    assert known.before(event(10)) == ALL_BY_TIME


def test_from_its_position_on_the_same_is_told_again() -> None:
    known = known_from(0)
    for offset, position in ((0, 0), (2, 0), (3, 0), (5, 0), (6, 30), (9, 30), (10, 40)):
        told = known.before(event(offset))
        assert known.position == position
        assert known_from(position).before(event(offset)) == told


def test_without_scores_time_tells_everything() -> None:
    known = KnownOrder(None, CODEC.decode, "t.events")
    assert known.before(event(3)) == ALL_BY_TIME
    assert known.position == 0
