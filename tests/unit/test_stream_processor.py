"""What the text as of an event knows, and what is published of it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from model.influence import influence_of
from model.tokens import BehaviourTokenizer, EncodedText
from schemas.contracts import Schema, current, fingerprint
from schemas.errors import RegistryUnavailable, UnknownSchemaError
from schemas.records import BehaviorEvent, InfluenceScore, Source
from schemas.resolvers import LocalResolver
from schemas.wire import Codec
from stream.exactly_once import Hold
from stream.replay.streams import Record
from stream.scoring import schema_resolution
from stream.scoring.windows import WindowLimits
from tests.support.processing import NOW_MS, TOPICS, Processing, batch_of, event, outcome, score_of


@pytest.fixture
def processing(tokenizer: BehaviourTokenizer) -> Processing:
    return Processing(tokenizer)


@pytest.fixture(scope="module")
def words(minilm_dir: Path) -> Tokenizer:
    return Tokenizer.from_file(str(minilm_dir / "tokenizer.json"))


def told(words: Tokenizer, text: EncodedText) -> tuple[str, str]:
    """The two segments of a text in words, read back from its ids."""
    ids = text.input_ids().tolist()
    first, second = ids[: text.first_segment_tokens], ids[text.first_segment_tokens :]
    return words.decode(first), words.decode(second)


def seen(minute: int, event_id: str, item: str, **more: Any) -> BehaviorEvent:
    return event(event_id, occurred_at=NOW_MS + 60_000 * (minute - 60), item_text=item, **more)


# --- texts ------------------------------------------------------------------------------------------------


def test_a_text_knows_what_the_user_did_before_and_nothing_of_others(
    processing: Processing, words: Tokenizer
) -> None:
    processing.deliver(seen(1, "e1", "alien"), event("b1", "bob", NOW_MS, item_text="brazil"))
    published = processing.deliver(seen(2, "e2", "casablanca"))
    assert told(words, published.texts[2]) == ("watch alien", "watch casablanca")
    assert told(words, published.texts[1]) == ("", "watch brazil")


def test_a_score_says_what_was_scored_by_what_and_where_it_came_from(processing: Processing) -> None:
    processing.deliver(seen(1, "e1", "alien"))
    score = processing.deliver(seen(2, "e2", "brazil", item_id="i2")).score("e2")
    y_hat, z_hat = score_of(processing.published.texts[1])
    assert (score.user_id, score.item_id, score.occurred_at) == ("ann", "i2", NOW_MS - 58 * 60_000)
    assert (score.y_hat, score.z_hat) == pytest.approx((y_hat, z_hat))
    assert score.influence == pytest.approx(influence_of(score.y_hat, score.z_hat, 0.5))
    assert (score.model_version, score.dtype, score.behaviours) == ("v1", "fp32", 1)
    assert (score.truncated, score.duplicate) == (False, False)
    assert score.source == Source(TOPICS.events, 0, 1)
    assert score.scored_at == NOW_MS + 7


def test_a_late_event_lands_where_it_belongs_and_knows_only_what_happened_before_it(
    processing: Processing, words: Tokenizer
) -> None:
    processing.deliver(seen(1, "e1", "alien"), seen(3, "e3", "casablanca"))
    published = processing.deliver(seen(2, "late", "brazil"), seen(4, "e4", "dune"))
    assert told(words, published.texts[2]) == ("watch alien", "watch brazil")
    assert told(words, published.texts[3]) == ("watch alien ; watch brazil ; watch casablanca", "watch dune")
    assert [entry.event_id for entry in processing.window().entries] == ["e1", "late", "e3", "e4"]


def test_events_of_one_time_keep_the_order_of_their_offsets(processing: Processing, words: Tokenizer) -> None:
    published = processing.deliver(
        *(seen(1, f"e{n}", item) for n, item in enumerate(("alien", "brazil", "dune")))
    )
    assert told(words, published.texts[2])[0] == "watch alien ; watch brazil"


def test_one_older_than_all_that_is_kept_is_scored_alone_and_not_kept(
    tokenizer: BehaviourTokenizer, words: Tokenizer
) -> None:
    processing = Processing(tokenizer, windows=WindowLimits(2, 4096))
    processing.deliver(*(seen(n, f"e{n}", "alien") for n in (5, 6, 7)))
    published = processing.deliver(seen(1, "old", "brazil"))
    assert told(words, published.texts[3]) == ("", "watch brazil")
    assert [entry.event_id for entry in processing.window().entries] == ["e6", "e7"]


def test_users_of_two_partitions_are_apart(processing: Processing) -> None:
    processing.deliver(processing.record(event("e1"), partition=1))
    processing.deliver(processing.record(event("e2"), partition=2))
    assert [entry.event_id for entry in processing.window("ann", 1).entries] == ["e1"]
    assert [entry.event_id for entry in processing.window("ann", 2).entries] == ["e2"]


# --- duplicates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", [(), ("e2",)], ids=["at once", "later"])
@pytest.mark.parametrize("one_batch", [True, False])
def test_the_same_event_again_is_scored_from_the_same_text_and_flagged(
    processing: Processing, between: tuple[str, ...], one_batch: bool
) -> None:
    processing.deliver(seen(0, "e0", "alien"))
    events = [
        seen(1, "e1", "brazil"),
        *(seen(2, name, "casablanca") for name in between),
        seen(1, "e1", "brazil"),
    ]
    if one_batch:
        processing.deliver(*events)
    else:
        for one in events:
            processing.deliver(one)
    published = processing.published
    first, again = [score for score in published.scores if score.event_id == "e1"]
    assert (first.duplicate, again.duplicate) == (False, True)
    assert (first.y_hat, first.z_hat) == (again.y_hat, again.z_hat)
    assert published.texts[first.source.offset].ids == published.texts[again.source.offset].ids
    assert [entry.event_id for entry in processing.window().entries] == ["e0", "e1", *between]


def test_a_duplicate_that_says_something_else_is_scored_as_it_was_first_told(processing: Processing) -> None:
    processing.deliver(seen(0, "e0", "alien"), seen(1, "e1", "brazil", value=30.0))
    published = processing.deliver(seen(9, "e1", "dune", value=7000.0, action="purchase"))
    assert published.texts[2].ids == published.texts[1].ids
    assert len(processing.window().entries) == 2


def test_the_same_event_id_of_another_user_is_no_duplicate(processing: Processing) -> None:
    published = processing.deliver(event("e1", "ann"), event("e1", "bob"))
    assert [score.duplicate for score in published.scores] == [False, False]


# --- outcomes ---------------------------------------------------------------------------------------------


def test_an_outcome_is_part_of_later_texts_and_never_of_its_own_events(
    processing: Processing, words: Tokenizer
) -> None:
    processing.deliver(seen(1, "e1", "alien"))
    processing.deliver(outcome("e1", y=1.0))
    published = processing.deliver(seen(2, "e2", "brazil"), seen(1, "e1", "alien"))
    assert told(words, published.texts[1]) == (
        "user likes 100 percent of 1 ; watch alien liked",
        "watch brazil",
    )
    assert told(words, published.texts[2]) == ("", "watch alien")  # its duplicate: not of its own text either
    assert published.texts[2].ids == published.texts[0].ids


def test_a_late_event_knows_no_outcome_of_what_came_after_it(
    processing: Processing, words: Tokenizer
) -> None:
    processing.deliver(seen(1, "e1", "alien"), seen(3, "e3", "casablanca"))
    processing.deliver(outcome("e1", y=0.0), outcome("e3", y=1.0))
    published = processing.deliver(seen(2, "late", "brazil"))
    assert told(words, published.texts[2]) == (
        "user likes 0 percent of 1 ; watch alien disliked",
        "watch brazil",
    )


def test_the_first_outcome_stands_and_the_others_are_counted(
    processing: Processing, words: Tokenizer
) -> None:
    processing.deliver(seen(1, "e1", "alien"))
    processing.deliver(outcome("e1", y=1.0, z=1.0), outcome("e1", y=0.0), outcome("e1", y=1.0, z=1.0))
    published = processing.deliver(outcome("e1", y=0.0, z=0.0))
    first, second = published.contexts[1:]
    assert (
        first.counts["joined"],
        first.counts["repeated"],
        first.counts["outcomes"],
    ) == (1, 2, 3)
    assert (second.counts["joined"], second.counts["repeated"]) == (0, 1)
    assert told(words, processing.deliver(seen(2, "e2", "dune")).texts[1])[0].endswith("watch alien loved")


def test_an_outcome_without_its_event_waits_and_changes_nothing_meanwhile(processing: Processing) -> None:
    processing.deliver(outcome("e1"), outcome("e1", user_id="bob"))
    published = processing.deliver(seen(1, "e2", "alien"))
    assert published.contexts[0].counts["parked"] == 2
    assert not published.dead_letters
    assert processing.window().entries[0].behaviour.y is None


def test_a_score_says_how_far_its_partitions_outcomes_had_been_read(processing: Processing) -> None:
    processing.deliver(seen(1, "e1", "alien"))
    processing.deliver(outcome("e1"), outcome("e7"), outcome("e8"))
    processing.deliver(processing.record(outcome("x", "bob"), partition=1))
    published = processing.deliver(seen(2, "e2", "brazil"))
    published = processing.deliver(processing.record(event("e3", "bob"), partition=1))
    assert [published.score(name).outcomes_next for name in ("e1", "e2", "e3")] == [0, 3, 1]


def test_units_that_are_open_see_each_other_in_order(processing: Processing, words: Tokenizer) -> None:
    processing.open()
    processing.read([processing.record(seen(1, "e1", "alien"))])
    processing.open()
    processing.read([processing.record(outcome("e1", y=1.0))])
    processing.open()
    processing.read([processing.record(seen(2, "e2", "brazil"))])
    for _ in range(3):
        processing.commit()
    assert told(words, processing.published.texts[1])[0] == "user likes 100 percent of 1 ; watch alien liked"


def test_what_was_dropped_and_is_read_again_is_published_once_and_the_same(processing: Processing) -> None:
    records = [processing.record(seen(n, f"e{n}", f"film {n}")) for n in range(3)]
    outcomes = [processing.record(outcome("e0"))]
    processing.open()
    processing.read(records[:1])
    processing.commit()
    for _ in range(2):  # read, and dropped before the commit
        processing.open()
        processing.read(outcomes)
        processing.open()
        processing.read(records[1:])
        processing.drop()
    processing.open()
    processing.read(outcomes)
    processing.read(records[1:])
    processing.commit()
    published = processing.published
    assert [score.event_id for score in published.scores] == ["e0", "e1", "e2"]
    assert [score.outcomes_next for score in published.scores] == [0, 1, 1]
    assert sum(context.counts["joined"] for context in published.contexts) == 1


# --- scoring fails ----------------------------------------------------------------------------------------


def test_a_text_that_the_model_fails_on_is_a_dead_letter_and_stays_in_the_window(
    tokenizer: BehaviourTokenizer,
) -> None:
    processing = Processing(tokenizer, fails=lambda one: one.event_id == "e2")
    published = processing.deliver(*(seen(n, f"e{n}", "alien") for n in (1, 2, 3)))
    (letter,) = published.dead_letters
    assert (letter.reason, letter.topic, letter.offset) == ("scoring_failed", TOPICS.events, 1)
    assert Codec(BehaviorEvent).decode(letter.raw).event_id == "e2"
    assert [score.event_id for score in published.scores] == ["e1", "e3"]
    assert published.score("e3").behaviours == 2
    (context,) = published.contexts
    assert (context.counts["scores"], context.dead_letters) == (2, {"scoring_failed": 1})


# --- the Schema Registry ----------------------------------------------------------------------------------


class AwayResolver:
    """A Schema Registry that is away for a number of questions; then it knows schema 7 and no other."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.asked = 0

    def by_fingerprint(self, schema_fingerprint: bytes) -> Schema:
        return LocalResolver().by_fingerprint(schema_fingerprint)

    def by_id(self, schema_id: int) -> Schema:
        self.asked += 1
        if self.asked <= self.away:
            raise RegistryUnavailable("it does not answer")
        if schema_id != 7:
            raise UnknownSchemaError(f"no schema {schema_id}")
        return current(BehaviorEvent)

    def id_of(self, subject: str, record_type: type[object]) -> int:
        raise AssertionError("nothing is written in this format here")


def in_confluent_format(one: BehaviorEvent, schema_id: int = 7) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + Codec(BehaviorEvent).encode(one)[10:]


def test_while_the_schema_registry_is_away_intake_pauses_and_nothing_is_lost(
    tokenizer: BehaviourTokenizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(schema_resolution, "_REGISTRY_PAUSE_S", 0.0)
    resolver = AwayResolver(away=3)
    processing = Processing(tokenizer, resolver=resolver)
    records = [
        processing.record(event("e1")),
        processing.record(in_confluent_format(event("e2"))),
        processing.record(in_confluent_format(event("e3"), schema_id=8)),
        processing.record(in_confluent_format(event("e4"))),
    ]
    said: list[str | None] = []
    processing.processor.on_wait = said.append
    asyncio.run(processing.processor.prepare(batch_of(records)))
    assert caplog.text.count("waits for the Schema Registry") == 3
    assert said == ["waiting for the Schema Registry"] * 3 + [None]
    published = processing.deliver(*records)
    assert [score.event_id for score in published.scores] == ["e1", "e2", "e4"]
    assert [letter.reason for letter in published.dead_letters] == ["unknown_schema"]


def test_who_has_no_event_loop_asks_once_and_is_told_that_the_schema_registry_is_away(
    tokenizer: BehaviourTokenizer,
) -> None:
    resolver = AwayResolver(away=2)
    processing = Processing(tokenizer, resolver=resolver)
    batch = batch_of([processing.record(event("e1")), processing.record(in_confluent_format(event("e2")))])
    for asked in (1, 2):
        with pytest.raises(RegistryUnavailable, match="it does not answer"):
            processing.processor.ask_registry(batch)
        assert resolver.asked == asked
    for _ in range(2):
        processing.processor.ask_registry(batch)
        assert resolver.asked == 3


def test_the_schema_registry_is_not_asked_about_what_is_known(tokenizer: BehaviourTokenizer) -> None:
    resolver = AwayResolver(away=0)
    processing = Processing(tokenizer, resolver=resolver)
    for number in range(3):
        record = processing.record(in_confluent_format(event(f"e{number}")))
        asyncio.run(processing.processor.prepare(batch_of([record])))
        processing.deliver(record)
    assert resolver.asked == 1
    assert len(processing.published.scores) == 3


def test_a_score_counts_the_past_behaviours_of_its_text_as_its_contract_says(processing: Processing) -> None:
    published = processing.deliver(seen(0, "e1", "alien"), seen(1, "e2", "brazil"))
    assert [score.behaviours for score in published.scores] == [0, 1]
    (field,) = [field for field in current(InfluenceScore)["fields"] if field["name"] == "behaviours"]
    assert "the scored one not counted: 0 for a user's first event" in field["doc"]


# --- events of a newer producer -----------------------------------------------------------------------------


class Later(LocalResolver):
    """Knows no schema but ours, until it is upgraded."""

    def upgrade(self, schema: Schema) -> None:
        self._schemas = LocalResolver([schema])._schemas


def newer_schema() -> Schema:
    """Events as a later version of Sway may have them: with a field at the end."""
    schema = current(BehaviorEvent)
    schema["fields"].append({"name": "campaign", "type": "string", "default": ""})
    return schema


def of_a_newer_producer(one: BehaviorEvent) -> bytes:
    return b"\xc3\x01" + fingerprint(newer_schema()) + Codec(BehaviorEvent).encode(one)[10:] + b"\x06new"


def test_an_event_of_a_newer_producer_is_a_dead_letter_unless_it_is_waited_for(
    tokenizer: BehaviourTokenizer,
) -> None:
    processing = Processing(tokenizer)
    record = processing.record(of_a_newer_producer(event("e1")))
    assert asyncio.run(processing.processor.prepare(batch_of([record]))) is None
    assert [letter.reason for letter in processing.deliver(record).dead_letters] == ["unknown_schema"]


def test_an_event_of_a_newer_producer_can_be_waited_for_and_is_scored_after_an_upgrade(
    tokenizer: BehaviourTokenizer,
) -> None:
    resolver = Later()
    processing = Processing(tokenizer, resolver=resolver, waits_for_schemas=True)
    records = [
        processing.record(event("e1")),
        processing.record(b"garbage"),
        processing.record(of_a_newer_producer(event("e2"))),
        processing.record(event("e3")),
    ]
    hold = asyncio.run(processing.processor.prepare(batch_of(records)))
    assert hold is not None
    assert (hold.readable, hold.missing) == (2, f"schema fingerprint {fingerprint(newer_schema()).hex()}")
    assert "Upgrade this worker" in hold.reason
    resolver.upgrade(newer_schema())
    assert asyncio.run(processing.processor.prepare(batch_of(records))) is None
    published = processing.deliver(*records)
    assert [score.event_id for score in published.scores] == ["e1", "e2", "e3"]
    assert [letter.reason for letter in published.dead_letters] == ["bad_magic"]


def test_a_schema_registry_that_is_away_holds_back_only_the_partition_that_asks_it(
    tokenizer: BehaviourTokenizer,
) -> None:
    resolver = AwayResolver(away=2)
    processing = Processing(tokenizer, resolver=resolver, waits_for_schemas=True)
    records = [processing.record(event("e1")), processing.record(in_confluent_format(event("e2")))]

    async def prepare(what: list[Record]) -> Hold | None:
        return await processing.processor.prepare(batch_of(what))

    for asked in (1, 2):
        hold = asyncio.run(prepare(records))
        assert hold == Hold(1, "the Schema Registry", "it does not answer")
        assert resolver.asked == asked
        assert asyncio.run(prepare(records[:1])) is None
    assert asyncio.run(prepare(records)) is None
    assert [score.event_id for score in processing.deliver(*records).scores] == ["e1", "e2"]


def test_an_unknown_fingerprint_waits_also_while_the_schema_registry_is_away(
    tokenizer: BehaviourTokenizer,
) -> None:
    processing = Processing(tokenizer, resolver=AwayResolver(away=1), waits_for_schemas=True)
    records = [
        processing.record(of_a_newer_producer(event("e1"))),
        processing.record(in_confluent_format(event("e2"))),
    ]
    hold = asyncio.run(processing.processor.prepare(batch_of(records)))
    assert hold is not None
    assert (hold.readable, hold.missing) == (0, f"schema fingerprint {fingerprint(newer_schema()).hex()}")


def test_reading_asks_no_schema_registry(tokenizer: BehaviourTokenizer) -> None:
    resolver = AwayResolver(away=0)
    processing = Processing(tokenizer, resolver=resolver)
    records = [processing.record(in_confluent_format(event("e1"), schema_id=8))]
    asyncio.run(processing.processor.prepare(batch_of(records)))
    resolver.away = 100  # what the registry says now must not reach the event loop
    (letter,) = processing.deliver(*records).dead_letters
    assert (letter.reason, letter.detail, resolver.asked) == ("unknown_schema", "no schema 8", 1)
