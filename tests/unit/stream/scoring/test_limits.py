"""Events with large fields leave only small data in the state, the output and memory."""

import tracemalloc

import pytest
from pydantic import ValidationError

from model.tokens import BehaviourTokenizer
from schemas.dead_letters import MAX_RAW_BYTES
from schemas.read import MAX_ENTRIES
from schemas.records import BehaviorEvent, DeadLetter
from schemas.state_records import DueList
from schemas.wire import Codec
from stream.learning_settings import AttributionRule, LabelSettings
from stream.scoring.labels.rules import JoinSettings, Rule
from stream.settings import WindowSettings
from tests.support.processing import NOW_MS, Processing, event, outcome

MIB = 2**20
MAX_OUTPUT_BYTES = 1_000_000
"""Limit of ExactlyOnceConfig and of a broker with default settings."""
LONGEST_ID_BYTES = 512

LARGE: dict[str, BehaviorEvent] = {
    "action": event(action="w" * MIB),
    "action of signs": event(action="🎬" * (MIB // 4)),
    "item text": event(item_text="<b>&amp;é; " * (MIB // 12)),
    "domain": event(domain="d" * MIB),
    "attribute": event(attributes={"a" * (MIB // 2): "b" * (MIB // 2)}),
    "attributes": event(attributes={f"a{number}": "b" * 1000 for number in range(MAX_ENTRIES)}),
}


@pytest.mark.parametrize("large", LARGE.values(), ids=LARGE)
def test_a_field_of_a_mebibyte_leaves_a_small_state(
    tokenizer: BehaviourTokenizer, large: BehaviorEvent
) -> None:
    processing = Processing(tokenizer, join=JoinSettings(negative=0.0))
    published = processing.deliver(large, event("next", occurred_at=NOW_MS + 1))
    assert [score.event_id for score in published.scores] == [large.event_id, "next"]
    for table in processing.tables:
        assert max(map(len, table.stored.values()), default=0) < 4096


def test_an_event_waiting_for_its_score_keeps_no_texts(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer)
    # With one four-byte character, Python stores every character of a text in four bytes.
    signs = "🎬" + "x" * (MIB - 1)
    records = [processing.record(event(f"e{number}", item_text=signs)) for number in range(4)]
    processing.open()
    tracemalloc.start()
    try:
        processing.read(records)
        kept_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept_bytes < MIB // 4
    processing.commit()
    assert len(processing.published.scores) == 4


def test_a_unit_of_the_longest_ids_fits_broker_limits(tokenizer: BehaviourTokenizer) -> None:
    join = JoinSettings(rules=(Rule("view", "buy", 1000),), weights={"view": 0.5}, negative=0.0)
    processing = Processing(tokenizer, join=join)
    events = [
        event(
            f"{number:0{LONGEST_ID_BYTES}}",
            "u" * LONGEST_ID_BYTES,
            action="view",
            item_id=f"{number:0{LONGEST_ID_BYTES}}",
        )
        for number in range(1024)
    ]
    processing.deliver(*events)
    sizes = [len(value) for table in processing.tables for value in table.stored.values()]
    assert max(sizes) + 2 * LONGEST_ID_BYTES + 16 < MAX_OUTPUT_BYTES
    lists = [processing.pending.codec.loads(raw) for raw in processing.pending.stored.values()]
    assert sum(len(one.entries) for one in lists if isinstance(one, DueList)) == 2 * len(events)


def test_an_action_is_cut_alike_for_label_and_text(tokenizer: BehaviourTokenizer) -> None:
    rule = Rule("v" * 64, "buy", 60_000)
    processing = Processing(tokenizer, join=JoinSettings(rules=(rule,), horizon_ms=60_000, grace_ms=0))
    processing.deliver(event("seen", action="v" * 100, item_id="i"))
    processing.deliver(event("bought", occurred_at=NOW_MS + 1, action="buy", item_id="i"))
    late = processing.record(event("later", occurred_at=NOW_MS + 90_000), timestamp=NOW_MS + 90_000)
    (example,) = processing.deliver(late).examples
    assert (example.event_id, example.label_source) == ("seen", "attribution")


def test_an_outcome_without_its_event_has_a_small_state(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer)
    processing.deliver(outcome("e" * LONGEST_ID_BYTES, "u" * LONGEST_ID_BYTES))
    assert all(len(raw) < 4096 for raw in processing.pending.stored.values())


@pytest.mark.parametrize(
    ("user_id", "reason"),
    [("ann", "key_mismatch"), ("u" * MIB, "id_too_long")],
    ids=["another user", "the same user"],
)
def test_a_dead_letter_cuts_a_key_of_a_mebibyte(
    tokenizer: BehaviourTokenizer, user_id: str, reason: str
) -> None:
    processing = Processing(tokenizer)
    value = Codec(BehaviorEvent).encode(event(user_id=user_id))
    (letter,) = processing.deliver(processing.record(value, key=b"u" * MIB)).dead_letters
    assert (letter.reason, letter.key) == (reason, b"u" * MAX_RAW_BYTES)
    assert len(Codec(DeadLetter).encode(letter)) < 150_000


def test_settings_refuse_windows_and_actions_beyond_the_limits() -> None:
    with pytest.raises(ValidationError, match="900000"):
        WindowSettings(max_bytes=900_001)
    with pytest.raises(ValidationError, match="64 characters"):
        AttributionRule(action="v" * 65, by="buy")
    with pytest.raises(ValidationError, match="64 characters"):
        LabelSettings(weights={"v" * 65: 1.0})
