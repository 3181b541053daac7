"""A bad record gives one dead letter or one flagged score, and does not affect the rest of its batch."""

import hashlib
import math

import pytest

from model.tokens import BehaviourTokenizer
from schemas.dead_letters import MAX_RAW_BYTES
from schemas.records import BehaviorEvent, DeadLetter, Outcome
from schemas.wire import Codec
from stream.scoring.behaviours import BehaviourLimits
from stream.scoring.windows import History
from stream.settings import WireSettings
from tests.support.processing import NOW_MS, TOPICS, Processing, Published, event, outcome

FINGERPRINT_UNKNOWN = b"\xc3\x01" + b"\x99" * 8 + b"whatever"
YEAR_9999_MS = 253_402_300_799_000


@pytest.fixture
def processing(tokenizer: BehaviourTokenizer) -> Processing:
    return Processing(tokenizer)


def deliver_between_good_events(processing: Processing, bad: BehaviorEvent | bytes | None) -> Published:
    """Deliver the bad record between two good events, as one batch."""
    good = [processing.record(event("before", "ann", NOW_MS - 2))]
    good.append(processing.record(bad))
    good.append(processing.record(event("after", "ann", NOW_MS)))
    return processing.deliver(*good)


BAD_EVENTS: dict[str, tuple[BehaviorEvent | bytes | None, str]] = {
    "null": (None, "empty"),
    "no bytes": (b"", "empty"),
    "JSON": (b'{"event_id": "e1"}', "bad_magic"),
    "binary": (bytes(range(255, 0, -1)), "bad_magic"),
    "unknown fingerprint": (FINGERPRINT_UNKNOWN, "unknown_schema"),
    "an id in a registry that is not there": (b"\x00\x00\x00\x00\x07abc", "unknown_schema"),
    "an outcome's schema": (Codec(Outcome).encode(outcome()), "wrong_record"),
    "cut short": (Codec(BehaviorEvent).encode(event())[:-3], "truncated"),
    "bytes too many": (Codec(BehaviorEvent).encode(event()) + b"\x00", "trailing_bytes"),
    "text that is not UTF-8": (
        Codec(BehaviorEvent).encode(event(item_text="alien")).replace(b"alien", b"al\xffen"),
        "undecodable",
    ),
    "empty user": (event(user_id=""), "missing_user_id"),
    "blank user": (event(user_id=" \t"), "missing_user_id"),
    "empty event id": (event(event_id=""), "missing_event_id"),
    "user id too long": (event(user_id="u" * 600), "id_too_long"),
    "item id too long": (event(item_id="i" * 600), "id_too_long"),
    "value NaN": (event(value=math.nan), "not_finite"),
    "value infinite": (event(value=-math.inf), "not_finite"),
    "1969": (event(occurred_at=-1), "time_before_1970"),
    "year 9999": (event(occurred_at=YEAR_9999_MS), "time_in_future"),
    "past the year 9999": (event(occurred_at=2**62), "time_in_future"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_a_bad_event_becomes_one_dead_letter(
    processing: Processing, bad: BehaviorEvent | bytes | None, reason: str
) -> None:
    published = deliver_between_good_events(processing, bad)
    (letter,) = published.dead_letters
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == (reason, TOPICS.events, 0, 1)
    assert [score.event_id for score in published.scores] == ["before", "after"]
    # The second event has the first one as its past, and no other.
    assert [score.behaviours for score in published.scores] == [0, 1]
    assert [entry.event_id for entry in processing.window().entries] == ["before", "after"]
    (context,) = published.contexts
    assert context.counts["events"] == 3
    assert context.dead_letters == {reason: 1}


def test_dead_letters_of_different_partitions_have_different_keys(processing: Processing) -> None:
    for partition in (0, 3):
        processing.deliver(processing.record(None, partition=partition))
    processing.deliver(processing.record(None, topic=TOPICS.outcomes, partition=3))
    topics = (TOPICS.events, TOPICS.outcomes)
    assert processing.published.dead_letter_keys == [
        f"{topics[0]}-0".encode(),
        f"{topics[0]}-3".encode(),
        f"{topics[1]}-3".encode(),
    ]


@pytest.mark.parametrize(("bad", "reason"), BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_a_dead_letter_holds_the_record_without_naming_its_text(
    processing: Processing, bad: BehaviorEvent | bytes | None, reason: str
) -> None:
    record = processing.record(bad)
    (letter,) = processing.deliver(record).dead_letters
    value = record.value or b""
    assert letter == DeadLetter(
        reason,
        letter.detail,
        TOPICS.events,
        0,
        0,
        NOW_MS,
        value,
        -1 if record.value is None else len(value),
        hashlib.sha256(value).hexdigest(),
        NOW_MS + 7,
        record.key,
    )
    assert letter.detail
    assert "alien" not in letter.detail


def test_an_event_with_a_foreign_key_is_dead_lettered(processing: Processing) -> None:
    value = Codec(BehaviorEvent).encode(event())
    records = [processing.record(value, key=key) for key in (b"bob", None, b"", b"ann\x00", b"ann")]
    published = processing.deliver(*records)
    assert [letter.reason for letter in published.dead_letters] == ["key_mismatch"] * 4
    assert [score.source.offset for score in published.scores] == [4]
    assert not processing.window("bob").entries


BAD_OUTCOMES: dict[str, tuple[Outcome | bytes | None, str]] = {
    "null": (None, "empty"),
    "an event's schema": (Codec(BehaviorEvent).encode(event()), "wrong_record"),
    "y above 1": (outcome(y=1.0000001), "out_of_range"),
    "y below 0": (outcome(y=-0.1), "out_of_range"),
    "y NaN": (outcome(y=math.nan), "out_of_range"),
    "z above 1": (outcome(z=5.0), "out_of_range"),
    "z NaN": (outcome(z=math.nan), "out_of_range"),
    "empty user": (outcome(user_id=""), "missing_user_id"),
    "empty event id": (outcome(event_id=""), "missing_event_id"),
    "year 9999": (Outcome("e1", "ann", 1.0, YEAR_9999_MS), "time_in_future"),
    "1969": (Outcome("e1", "ann", 1.0, -1), "time_before_1970"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD_OUTCOMES.values(), ids=BAD_OUTCOMES)
def test_a_bad_outcome_becomes_one_dead_letter(
    processing: Processing, bad: Outcome | bytes | None, reason: str
) -> None:
    processing.deliver(event("e1"), event("e2"))
    untouched = processing.window().entries[0].block
    good = outcome("e2", y=0.0)
    published = processing.deliver(processing.record(bad, topic=TOPICS.outcomes), processing.record(good))
    (letter,) = published.dead_letters
    assert (letter.reason, letter.topic, letter.offset) == (reason, TOPICS.outcomes, 0)
    first, second = processing.window().entries
    assert first.block == untouched
    assert second.behaviour.y == 0.0


def test_an_outcome_with_a_foreign_key_is_dead_lettered(processing: Processing) -> None:
    processing.deliver(event("e1"))
    record = processing.record(Codec(Outcome).encode(outcome("e1")), topic=TOPICS.outcomes, key=b"bob")
    (letter,) = processing.deliver(record).dead_letters
    assert letter.reason == "key_mismatch"
    assert processing.window().entries[0].behaviour.y is None


LONG_TEXTS = {
    "1 MiB": "x" * 2**20,
    "words": "alien " * 200_000,
    "four bytes a character": "🎬" * 10_000,
    "one over": "y" * 513,
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_an_over_long_text_is_cut_flagged_and_scored(processing: Processing, text: str) -> None:
    published = deliver_between_good_events(processing, event("long", occurred_at=NOW_MS - 1, item_text=text))
    assert not published.dead_letters
    assert [score.truncated for score in published.scores][:2] == [False, True]
    assert [score.behaviours for score in published.scores][:2] == [0, 1]
    assert processing.window().entries[1].behaviour.item_text == text[:512]


def test_a_value_above_the_wire_limit_is_dead_lettered(processing: Processing) -> None:
    text = "x" * WireSettings().max_record_bytes
    published = deliver_between_good_events(processing, event("huge", item_text=text))
    (letter,) = published.dead_letters
    assert letter.reason == "too_large"
    assert len(letter.raw) == MAX_RAW_BYTES
    assert letter.raw_length > len(text)
    assert [score.event_id for score in published.scores] == ["before", "after"]


def test_a_text_cut_only_in_the_state_is_flagged(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, behaviours=BehaviourLimits(max_item_text_chars=10))
    published = processing.deliver(
        event("fits", item_text="t" * 10), *(event("cut", item_text="t" * 11) for _ in range(2))
    )
    assert [score.truncated for score in published.scores] == [False, True, True]


def test_a_long_action_is_cut_and_flagged(processing: Processing) -> None:
    published = processing.deliver(event(action="w" * 65), event("e2", action="w" * 64, item_text=""))
    assert processing.window().entries[0].behaviour.action == "w" * 64
    assert published.score("e1").truncated


def test_binary_text_is_cleaned_and_scored(processing: Processing) -> None:
    text = "".join(map(chr, range(0x20))) + "\x7f\x85\u200b\ufffe\U0010ffff[SEP] ; <b>alien</b>\x00"
    published = processing.deliver(event("binary", item_text=text), event("clean", item_text="(SEP) , alien"))
    assert not published.dead_letters
    assert not published.score("binary").truncated
    window = processing.window()
    words = History(window, len(window))
    assert words[0].text == words[1].text


def test_a_time_within_the_allowance_is_accepted(processing: Processing) -> None:
    published = processing.deliver(
        event("zero", occurred_at=0),
        event("ahead", occurred_at=NOW_MS + 3_600_000),
        processing.record(event("no kafka time", occurred_at=NOW_MS), timestamp=-1),
    )
    assert not published.dead_letters
    assert len(published.scores) == 3


def test_a_batch_of_bad_records_requests_no_scores(processing: Processing) -> None:
    published = processing.deliver(*(processing.record(b"?") for _ in range(3)))
    assert len(published.dead_letters) == 3
    assert not published.scores
    (context,) = published.contexts
    assert not context.pending
