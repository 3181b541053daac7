"""The text of an event, its score, and the other records that are published for it."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from model.influence import influence_of
from model.tokens import BehaviourTokenizer, EncodedText
from schemas.contracts import current
from schemas.records import BehaviorEvent, InfluenceScore, Source
from schemas.wire import Codec
from stream.scoring.windows import WindowLimits
from tests.support.processing import NOW_MS, TOPICS, Processing, event, outcome, score_of


@pytest.fixture
def processing(tokenizer: BehaviourTokenizer) -> Processing:
    return Processing(tokenizer)


@pytest.fixture(scope="module")
def words(minilm_dir: Path) -> Tokenizer:
    return Tokenizer.from_file(str(minilm_dir / "tokenizer.json"))


def segments_of(words: Tokenizer, text: EncodedText) -> tuple[str, str]:
    """Return the two segments of a text in words, decoded from its ids."""
    ids = text.input_ids().tolist()
    first, second = ids[: text.first_segment_tokens], ids[text.first_segment_tokens :]
    return words.decode(first), words.decode(second)


def seen(minute: int, event_id: str, item: str, **more: Any) -> BehaviorEvent:
    return event(event_id, occurred_at=NOW_MS + 60_000 * (minute - 60), item_text=item, **more)


# --- texts ------------------------------------------------------------------------------------------------


def test_a_text_contains_only_earlier_behaviours_of_its_user(
    processing: Processing, words: Tokenizer
) -> None:
    processing.deliver(seen(1, "e1", "alien"), event("b1", "bob", NOW_MS, item_text="brazil"))
    published = processing.deliver(seen(2, "e2", "casablanca"))
    assert segments_of(words, published.texts[2]) == ("watch alien", "watch casablanca")
    assert segments_of(words, published.texts[1]) == ("", "watch brazil")


def test_a_score_names_its_event_model_and_source(processing: Processing) -> None:
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


def test_a_late_event_is_placed_by_its_time(processing: Processing, words: Tokenizer) -> None:
    processing.deliver(seen(1, "e1", "alien"), seen(3, "e3", "casablanca"))
    published = processing.deliver(seen(2, "late", "brazil"), seen(4, "e4", "dune"))
    assert segments_of(words, published.texts[2]) == ("watch alien", "watch brazil")
    assert segments_of(words, published.texts[3]) == (
        "watch alien ; watch brazil ; watch casablanca",
        "watch dune",
    )
    assert [entry.event_id for entry in processing.window().entries] == ["e1", "late", "e3", "e4"]


def test_events_of_equal_time_keep_their_offset_order(processing: Processing, words: Tokenizer) -> None:
    published = processing.deliver(
        *(seen(1, f"e{n}", item) for n, item in enumerate(("alien", "brazil", "dune")))
    )
    assert segments_of(words, published.texts[2])[0] == "watch alien ; watch brazil"


def test_an_event_older_than_a_full_window_is_not_kept(
    tokenizer: BehaviourTokenizer, words: Tokenizer
) -> None:
    processing = Processing(tokenizer, windows=WindowLimits(2, 4096))
    processing.deliver(*(seen(n, f"e{n}", "alien") for n in (5, 6, 7)))
    published = processing.deliver(seen(1, "old", "brazil"))
    assert segments_of(words, published.texts[3]) == ("", "watch brazil")
    assert [entry.event_id for entry in processing.window().entries] == ["e6", "e7"]


def test_partitions_have_separate_windows(processing: Processing) -> None:
    processing.deliver(processing.record(event("e1"), partition=1))
    processing.deliver(processing.record(event("e2"), partition=2))
    assert [entry.event_id for entry in processing.window("ann", 1).entries] == ["e1"]
    assert [entry.event_id for entry in processing.window("ann", 2).entries] == ["e2"]


# --- duplicates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", [(), ("e2",)], ids=["at once", "later"])
@pytest.mark.parametrize("one_batch", [True, False])
def test_a_duplicate_is_scored_from_the_same_text_and_flagged(
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


def test_a_duplicate_with_other_contents_is_scored_like_the_first(processing: Processing) -> None:
    processing.deliver(seen(0, "e0", "alien"), seen(1, "e1", "brazil", value=30.0))
    published = processing.deliver(seen(9, "e1", "dune", value=7000.0, action="purchase"))
    assert published.texts[2].ids == published.texts[1].ids
    assert len(processing.window().entries) == 2


def test_an_event_id_of_another_user_is_no_duplicate(processing: Processing) -> None:
    published = processing.deliver(event("e1", "ann"), event("e1", "bob"))
    assert [score.duplicate for score in published.scores] == [False, False]


# --- outcomes ---------------------------------------------------------------------------------------------


def test_an_outcome_appears_only_in_later_texts(processing: Processing, words: Tokenizer) -> None:
    processing.deliver(seen(1, "e1", "alien"))
    processing.deliver(outcome("e1", y=1.0))
    published = processing.deliver(seen(2, "e2", "brazil"), seen(1, "e1", "alien"))
    assert segments_of(words, published.texts[1]) == (
        "user likes 100 percent of 1 ; watch alien liked",
        "watch brazil",
    )
    # The duplicate of the event does not see the event's own outcome either.
    assert segments_of(words, published.texts[2]) == ("", "watch alien")
    assert published.texts[2].ids == published.texts[0].ids


def test_a_late_event_sees_no_outcomes_of_later_events(processing: Processing, words: Tokenizer) -> None:
    processing.deliver(seen(1, "e1", "alien"), seen(3, "e3", "casablanca"))
    processing.deliver(outcome("e1", y=0.0), outcome("e3", y=1.0))
    published = processing.deliver(seen(2, "late", "brazil"))
    assert segments_of(words, published.texts[2]) == (
        "user likes 0 percent of 1 ; watch alien disliked",
        "watch brazil",
    )


def test_the_first_outcome_is_kept_and_repetitions_are_counted(
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
    assert segments_of(words, processing.deliver(seen(2, "e2", "dune")).texts[1])[0].endswith(
        "watch alien loved"
    )


def test_an_outcome_waits_for_its_event(processing: Processing) -> None:
    processing.deliver(outcome("e1"), outcome("e1", user_id="bob"))
    published = processing.deliver(seen(1, "e2", "alien"))
    assert published.contexts[0].counts["parked"] == 2
    assert not published.dead_letters
    assert processing.window().entries[0].behaviour.y is None


def test_a_score_holds_the_next_outcome_offset(processing: Processing) -> None:
    processing.deliver(seen(1, "e1", "alien"))
    processing.deliver(outcome("e1"), outcome("e7"), outcome("e8"))
    processing.deliver(processing.record(outcome("x", "bob"), partition=1))
    published = processing.deliver(seen(2, "e2", "brazil"))
    published = processing.deliver(processing.record(event("e3", "bob"), partition=1))
    assert [published.score(name).outcomes_next for name in ("e1", "e2", "e3")] == [0, 3, 1]


def test_open_units_see_each_other_in_order(processing: Processing, words: Tokenizer) -> None:
    processing.open()
    processing.read([processing.record(seen(1, "e1", "alien"))])
    processing.open()
    processing.read([processing.record(outcome("e1", y=1.0))])
    processing.open()
    processing.read([processing.record(seen(2, "e2", "brazil"))])
    for _ in range(3):
        processing.commit()
    assert (
        segments_of(words, processing.published.texts[1])[0]
        == "user likes 100 percent of 1 ; watch alien liked"
    )


def test_records_of_dropped_units_are_published_once(processing: Processing) -> None:
    records = [processing.record(seen(n, f"e{n}", f"film {n}")) for n in range(3)]
    outcomes = [processing.record(outcome("e0"))]
    processing.open()
    processing.read(records[:1])
    processing.commit()
    # Two attempts end before their commit.
    for _ in range(2):
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


def test_a_score_counts_only_past_behaviours(processing: Processing) -> None:
    published = processing.deliver(seen(0, "e1", "alien"), seen(1, "e2", "brazil"))
    assert [score.behaviours for score in published.scores] == [0, 1]
    (field,) = [field for field in current(InfluenceScore)["fields"] if field["name"] == "behaviours"]
    assert "the scored one not counted: 0 for a user's first event" in field["doc"]


# --- scoring fails ----------------------------------------------------------------------------------------


def test_an_event_that_fails_to_score_is_dead_lettered(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, fails=lambda one: one.event_id == "e2")
    published = processing.deliver(*(seen(n, f"e{n}", "alien") for n in (1, 2, 3)))
    (letter,) = published.dead_letters
    assert (letter.reason, letter.topic, letter.offset) == ("scoring_failed", TOPICS.events, 1)
    assert Codec(BehaviorEvent).decode(letter.raw).event_id == "e2"
    assert [score.event_id for score in published.scores] == ["e1", "e3"]
    assert published.score("e3").behaviours == 2
    (context,) = published.contexts
    assert (context.counts["scores"], context.dead_letters) == (2, {"scoring_failed": 1})
