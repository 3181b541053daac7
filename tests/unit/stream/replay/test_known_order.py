"""The outcomes before an event as known from old scores, and the position to read them again from.

tests/property/test_replay_order.py checks that this is the live order.
"""

from schemas.records import InfluenceScore, Source
from schemas.wire import Codec
from stream.replay.known_order import ALL_BY_TIME, Before, KnownOrder
from stream.replay.plan import Span
from stream.replay.streams import Record
from tests.support.memory_streams import MemoryStream

CODEC = Codec(InfluenceScore)


def old_score(event: int, outcomes_next: int) -> bytes:
    """Return the value of a live score in its topic."""
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
        source=Source("t.events", 0, event),
        outcomes_next=outcomes_next,
        occurred_at=0,
        scored_at=0,
    )
    return CODEC.encode(score)


SCORES = [
    Record("t.scores", 0, 10 * number, 0, None, old_score(*one))
    for number, one in enumerate([(2, 1), (5, 4), (2, 1), (5, 4), (9, 7)])
]
"""Scores of a worker that restarted from its beginning after the second one."""


def known_from(position: int) -> KnownOrder:
    return KnownOrder(MemoryStream(SCORES, Span(position, 50)), CODEC.decode, "t.events")


def event(offset: int) -> Record:
    return Record("t.events", 0, offset, 0, None, None)


def test_stored_scores_give_the_outcomes_before_each_event() -> None:
    known = known_from(0)
    # Ordered by time, and no further than the live run had read at the next event.
    assert known.before(event(0)) == Before(1, by_time=True)
    assert known.before(event(2)) == Before(1, by_time=False)
    assert known.before(event(3)) == Before(0, by_time=False)
    assert known.before(event(5)) == Before(4, by_time=False)
    assert known.before(event(6)) == Before(0, by_time=False)
    assert known.before(event(9)) == Before(7, by_time=False)
    assert known.before(event(10)) == ALL_BY_TIME


def test_a_position_restores_the_same_order() -> None:
    known = known_from(0)
    for offset, position in ((0, 0), (2, 0), (3, 0), (5, 0), (6, 30), (9, 30), (10, 40)):
        expected = known.before(event(offset))
        assert known.position == position
        assert known_from(position).before(event(offset)) == expected


def test_without_scores_outcomes_are_ordered_by_time() -> None:
    known = KnownOrder(None, CODEC.decode, "t.events")
    assert known.before(event(3)) == ALL_BY_TIME
    assert known.position == 0
