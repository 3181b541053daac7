"""A committed offset belongs to one topic, not to a name: what its metadata tells the next epoch."""

from stream.exactly_once.units.records import TopicPartition
from stream.exactly_once.units.topic_ids import (
    Committed,
    decode_topic_ids,
    encode_topic_ids,
    find_lost,
    find_recreated,
)

EVENTS, OUTCOMES, CHANGELOG = "sway.events", "sway.outcomes", "sway-windows-changelog"
IDS = {EVENTS: "e1", OUTCOMES: "o1", CHANGELOG: "c1"}
NOTE = encode_topic_ids(IDS)
E0, O0 = TopicPartition(EVENTS, 0), TopicPartition(OUTCOMES, 0)


def test_a_note_holds_each_topics_id_and_stays_short_for_long_names() -> None:
    assert set(decode_topic_ids(NOTE).values()) == {"e1", "o1", "c1"}
    ids = {f"{'x' * 240}{number}": "i" * 22 for number in range(20)}
    assert len(encode_topic_ids(ids)) < 700
    assert len(decode_topic_ids(encode_topic_ids(ids))) == 20


def test_notes_that_are_not_ours_say_nothing() -> None:
    assert decode_topic_ids("") == {}
    assert decode_topic_ids("a,b:c:d,,{}") == {}


def test_what_was_committed_to_the_same_topics_is_not_lost() -> None:
    committed = {E0: Committed(7, NOTE), O0: Committed(3, NOTE)}
    assert find_lost(committed, IDS, [0]) == {}
    assert find_recreated(committed, [CHANGELOG], IDS) == []


def test_a_topic_that_was_made_again_is_lost_although_its_offset_is_in_the_log() -> None:
    committed = {E0: Committed(7, NOTE), O0: Committed(3, NOTE)}
    lost = find_lost(committed, {**IDS, EVENTS: "e2"}, [0])
    assert list(lost) == [E0]
    assert "recreated" in lost[E0]


def test_an_offset_that_the_broker_deleted_with_its_topic_is_lost() -> None:
    committed = {E0: Committed(None), O0: Committed(3, NOTE)}
    assert list(find_lost(committed, {**IDS, EVENTS: "e2"}, [0])) == [E0]
    assert "deleted" in find_lost(committed, IDS, [0])[E0]


def test_state_without_any_offset_is_lost_and_nothing_without_state_is_new() -> None:
    committed = {E0: Committed(None), O0: Committed(None)}
    assert set(find_lost(committed, IDS, [0])) == {E0, O0}
    assert find_lost(committed, IDS, [1]) == {}


def test_an_input_that_is_read_for_the_first_time_is_new() -> None:
    before = encode_topic_ids({EVENTS: "e1", CHANGELOG: "c1"})
    assert find_lost({E0: Committed(7, before), O0: Committed(None)}, IDS, [0]) == {}


def test_an_offset_that_was_set_by_hand_is_trusted() -> None:
    committed = {E0: Committed(0), O0: Committed(3, NOTE)}
    assert find_lost(committed, {**IDS, EVENTS: "e2"}, [0]) == {}


def test_a_changelog_that_was_made_again_is_named_and_a_new_one_is_not() -> None:
    committed = {E0: Committed(7, NOTE)}
    assert find_recreated(committed, [CHANGELOG, "new"], {**IDS, CHANGELOG: "c2", "new": "n"}) == [CHANGELOG]
