"""A committed offset belongs to a topic id, not to a topic name. Its metadata carries the ids to the next epoch."""

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
METADATA = encode_topic_ids(IDS)
E0, O0 = TopicPartition(EVENTS, 0), TopicPartition(OUTCOMES, 0)


def test_metadata_contains_each_topic_id_and_stays_short() -> None:
    assert set(decode_topic_ids(METADATA).values()) == {"e1", "o1", "c1"}
    ids = {f"{'x' * 240}{number}": "i" * 22 for number in range(20)}
    assert len(encode_topic_ids(ids)) < 700
    assert len(decode_topic_ids(encode_topic_ids(ids))) == 20


def test_foreign_metadata_is_ignored() -> None:
    assert decode_topic_ids("") == {}
    assert decode_topic_ids("a,b:c:d,,{}") == {}


def test_offsets_of_the_same_topics_are_not_lost() -> None:
    committed = {E0: Committed(7, METADATA), O0: Committed(3, METADATA)}
    assert find_lost(committed, IDS, [0]) == {}
    assert find_recreated(committed, [CHANGELOG], IDS) == []


def test_an_offset_of_a_recreated_topic_is_lost() -> None:
    committed = {E0: Committed(7, METADATA), O0: Committed(3, METADATA)}
    lost = find_lost(committed, {**IDS, EVENTS: "e2"}, [0])
    assert list(lost) == [E0]
    assert "recreated" in lost[E0]


def test_an_offset_deleted_with_its_topic_is_lost() -> None:
    committed = {E0: Committed(None), O0: Committed(3, METADATA)}
    assert list(find_lost(committed, {**IDS, EVENTS: "e2"}, [0])) == [E0]
    assert "deleted" in find_lost(committed, IDS, [0])[E0]


def test_missing_offsets_are_lost_only_with_existing_state() -> None:
    committed = {E0: Committed(None), O0: Committed(None)}
    assert set(find_lost(committed, IDS, [0])) == {E0, O0}
    assert find_lost(committed, IDS, [1]) == {}


def test_an_input_read_for_the_first_time_is_new() -> None:
    before = encode_topic_ids({EVENTS: "e1", CHANGELOG: "c1"})
    assert find_lost({E0: Committed(7, before), O0: Committed(None)}, IDS, [0]) == {}


def test_a_manually_set_offset_is_trusted() -> None:
    committed = {E0: Committed(0), O0: Committed(3, METADATA)}
    assert find_lost(committed, {**IDS, EVENTS: "e2"}, [0]) == {}


def test_only_recreated_changelogs_are_named() -> None:
    committed = {E0: Committed(7, METADATA)}
    assert find_recreated(committed, [CHANGELOG, "new"], {**IDS, CHANGELOG: "c2", "new": "n"}) == [CHANGELOG]
