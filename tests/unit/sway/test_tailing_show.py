"""Records shown as lines and as JSON."""

import json

import pytest

from schemas.dead_letters import dead_letter
from schemas.errors import BadMagicError
from schemas.records import BehaviorEvent, InfluenceScore, Source
from sway.tail.show import as_json, as_line, time_text

SCORE = InfluenceScore(
    event_id="e1",
    user_id="u1",
    item_id="",
    y_hat=0.123456,
    z_hat=0.0,
    influence=0.5,
    model_version="v1",
    dtype="fp32",
    behaviours=3,
    truncated=False,
    duplicate=True,
    source=Source("sway.events", 2, 7),
    outcomes_next=0,
    occurred_at=1_700_000_000_000,
    scored_at=1_700_000_000_123,
)


def test_a_score_is_one_readable_line() -> None:
    assert as_line("sway.scores[2]@9", 1_700_000_000_000, SCORE) == (
        "2023-11-14T22:13:20.000Z sway.scores[2]@9 InfluenceScore event_id=e1 user_id=u1 y_hat=0.1235 z_hat=0 "
        "influence=0.5 model_version=v1 dtype=fp32 behaviours=3 truncated=no duplicate=yes "
        "source={topic=sway.events partition=2 offset=7} outcomes_next=0 "
        "occurred_at=2023-11-14T22:13:20.000Z scored_at=2023-11-14T22:13:20.123Z"
    )


def test_control_characters_are_escaped_and_long_texts_cut() -> None:
    event = BehaviorEvent("e1", "u1", "view", 0, item_text="\x1b[2Jgone\n\x9b1m", item_id="x" * 500)
    line = as_line("t[0]@0", 0, event)
    assert line.isprintable()
    assert r"\x1b[2Jgone\n\x9b1m" in line
    assert len(line) < 300


def test_an_undecodable_value_is_reported() -> None:
    line = as_line("t[0]@0", 0, BadMagicError("The value starts like neither."))
    assert line.endswith("t[0]@0 cannot be decoded (bad_magic): The value starts like neither.")
    shown = json.loads(as_json("t", 0, 1, 2, None, BadMagicError("why")))
    assert shown == {
        "topic": "t",
        "partition": 0,
        "offset": 1,
        "timestamp": 2,
        "key": None,
        "error": "bad_magic",
        "detail": "why",
    }


def test_json_holds_every_field_and_bytes_in_base64() -> None:
    letter = dead_letter(
        reason="bad_magic",
        detail="why",
        topic="sway.events",
        partition=0,
        offset=1,
        timestamp=2,
        key=b"\xff",
        value=b"\x00\x01",
        failed_at=3,
    )
    text = as_json("sway.dead-letters", 1, 2, 3, b"sway.events", letter)
    shown = json.loads(text)
    assert "\n" not in text
    assert (shown["type"], shown["key"]) == ("DeadLetter", "sway.events")
    assert (shown["record"]["raw"], shown["record"]["key"]) == ("AAE=", "/w==")
    assert "raw=(2 bytes)" in as_line("t[0]@0", 0, letter)


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, "253402300800000"),
        (-1, "-1"),
    ],
)
def test_times_outside_the_calendar_are_shown_as_numbers(time_ms: int, text: str) -> None:
    assert time_text(time_ms) == text
