"""Rows become records. Errors name the field and never show the value."""

from typing import Any

import pytest

from schemas.records import BehaviorEvent, Outcome
from sway.errors import CommandError
from sway.load.rows import RowError, RowReader

EVENT: dict[str, Any] = {
    "event_id": "e1",
    "user_id": "u1",
    "action": "view",
    "occurred_at": 1_700_000_000_000,
}


def read_event(**changes: object) -> BehaviorEvent:
    return RowReader(BehaviorEvent).read(EVENT | changes)


def test_missing_values_take_the_defaults() -> None:
    event = read_event(item_id="", item_text=None, value="", attributes=None)
    assert event == BehaviorEvent("e1", "u1", "view", 1_700_000_000_000)


def test_values_are_converted_to_the_fields_types() -> None:
    event = read_event(user_id=42, value="3.5", attributes='{"page": "2"}', domain="shop")
    assert (event.user_id, event.value, event.attributes, event.domain) == ("42", 3.5, {"page": "2"}, "shop")
    assert read_event(value=3, attributes={"page": "2", "absent": None}).attributes == {"page": "2"}


@pytest.mark.parametrize(
    "time",
    [
        1_700_000_000_000,
        1_700_000_000_000.0,
        "1700000000000",
        "2023-11-14T22:13:20Z",
        "2023-11-14 22:13:20",
        "2023-11-14T23:13:20.000+01:00",
    ],
)
def test_times_are_milliseconds_or_iso_8601(time: object) -> None:
    assert read_event(occurred_at=time).occurred_at == 1_700_000_000_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user_id", 1.5),
        ("user_id", True),
        ("occurred_at", "yesterday"),
        ("occurred_at", 1.5),
        ("occurred_at", True),
        ("value", "secret"),
        ("value", ["secret"]),
        ("attributes", "secret"),
        ("attributes", '["secret"]'),
        ("attributes", {"secret": 1}),
    ],
)
def test_an_invalid_value_is_reported_by_its_field(field: str, value: object) -> None:
    with pytest.raises(RowError, match=f"^{field} is not ") as raised:
        read_event(**{field: value})
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_missing_and_unknown_fields_are_named() -> None:
    with pytest.raises(RowError, match=r"^action, user_id missing$"):
        read_event(action="", user_id=None)
    with pytest.raises(RowError, match="no field of BehaviorEvent is named colour"):
        read_event(colour="red")


def test_an_outcome_may_have_no_z() -> None:
    row = {"event_id": "e1", "user_id": "u1", "y": "1", "observed_at": "2023-11-14T22:13:20Z", "z": ""}
    assert RowReader(Outcome).read(row) == Outcome("e1", "u1", 1.0, 1_700_000_000_000)


def test_mismatched_columns_are_refused_before_the_first_row() -> None:
    reader = RowReader(Outcome)
    reader.check_columns(("event_id", "user_id", "y", "observed_at"))
    with pytest.raises(CommandError) as raised:
        reader.check_columns(("event_id", "user_id", "label"))
    for part in (
        "no field is named label",
        "observed_at, y are missing",
        "event_id, user_id, y, observed_at, z",
    ):
        assert part in str(raised.value)
