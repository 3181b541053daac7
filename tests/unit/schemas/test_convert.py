"""Conversion of records from and to mappings."""

from typing import Any

import pytest

from schemas.convert import from_mapping, to_mapping
from schemas.errors import EncodeError
from schemas.records import BehaviorEvent, RecommendationRequest
from tests.golden.samples import SAMPLES


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_a_record_round_trips_through_its_mapping(record: Any) -> None:
    assert from_mapping(type(record), to_mapping(record)) == record


def test_a_missing_field_takes_its_default() -> None:
    event = from_mapping(BehaviorEvent, {"event_id": "e", "user_id": "u", "action": "view", "occurred_at": 1})
    assert event == BehaviorEvent("e", "u", "view", 1)
    request = from_mapping(
        RecommendationRequest,
        {"request_id": "r", "user_id": "u", "candidates": [{"item_id": "i"}], "requested_at": 1},
    )
    assert request.candidates[0].item_text == ""


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        {"event_id": "e", "user_id": "u", "action": "view"},
        {"event_id": "e", "user_id": "u", "action": "view", "occurred_at": 1, "colour": "red"},
        {"event_id": "e", "user_id": "u", "action": "view", "occurred_at": 1, "attributes": "red"},
    ],
)
def test_an_invalid_mapping_is_an_encode_error(mapping: dict[str, Any]) -> None:
    with pytest.raises(EncodeError):
        from_mapping(BehaviorEvent, mapping)
