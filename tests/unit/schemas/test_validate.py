"""Validation of the contents of records."""

import math
from dataclasses import replace
from typing import Any

import pytest

from schemas.records import BehaviorEvent, Candidate, Outcome, RecommendationRequest
from schemas.validate import DETAILS, Limits, check_event, check_outcome, check_request

NOW = 1_735_689_600_000
EVENT = BehaviorEvent("e", "u", "view", NOW)
OUTCOME = Outcome("e", "u", 1.0, NOW, 0.5)
REQUEST = RecommendationRequest("r", "u", [Candidate("i")], NOW)
YEAR_9999 = 253_370_764_800_000


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"user_id": ""}, "missing_user_id"),
        ({"user_id": " \t"}, "missing_user_id"),
        ({"event_id": ""}, "missing_event_id"),
        ({"event_id": "\n"}, "missing_event_id"),
        ({"user_id": "u" * 512}, None),
        ({"user_id": "u" * 513}, "id_too_long"),
        ({"user_id": "ü" * 256}, None),
        ({"user_id": "ü" * 257}, "id_too_long"),
        ({"event_id": "e" * 513}, "id_too_long"),
        ({"item_id": "i" * 513}, "id_too_long"),
        ({"item_id": ""}, None),
        ({"item_id": "\ud800" * 200}, "id_too_long"),
        ({"value": 0.0}, None),
        ({"value": -1e300}, None),
        ({"value": math.nan}, "not_finite"),
        ({"value": math.inf}, "not_finite"),
        ({"value": -math.inf}, "not_finite"),
        ({"occurred_at": 0}, None),
        ({"occurred_at": -1}, "time_before_1970"),
        ({"occurred_at": -(2**63)}, "time_before_1970"),
        ({"occurred_at": NOW + 3_600_000}, None),
        ({"occurred_at": NOW + 3_600_001}, "time_in_future"),
        ({"occurred_at": YEAR_9999}, "time_in_future"),
        ({"occurred_at": 2**63 - 1}, "time_in_future"),
    ],
)
def test_events_are_validated(changes: dict[str, Any], reason: str | None) -> None:
    assert check_event(replace(EVENT, **changes), NOW) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"z": None}, None),
        ({"y": 0.0, "z": 1.0}, None),
        ({"user_id": ""}, "missing_user_id"),
        ({"event_id": ""}, "missing_event_id"),
        ({"event_id": "e" * 513}, "id_too_long"),
        ({"y": 1.0000001}, "out_of_range"),
        ({"y": -0.1}, "out_of_range"),
        ({"y": math.nan}, "out_of_range"),
        ({"y": math.inf}, "out_of_range"),
        ({"z": 1.5}, "out_of_range"),
        ({"z": -1.0}, "out_of_range"),
        ({"z": math.nan}, "out_of_range"),
        ({"observed_at": -1}, "time_before_1970"),
        ({"observed_at": YEAR_9999}, "time_in_future"),
    ],
)
def test_outcomes_are_validated(changes: dict[str, Any], reason: str | None) -> None:
    assert check_outcome(replace(OUTCOME, **changes), NOW) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"candidates": []}, None),
        ({"user_id": ""}, "missing_user_id"),
        ({"request_id": ""}, "missing_event_id"),
        ({"candidates": [Candidate("i"), Candidate("i" * 513)]}, "id_too_long"),
        ({"candidates": [Candidate("i", "", math.nan)]}, "not_finite"),
        ({"requested_at": YEAR_9999}, "time_in_future"),
    ],
)
def test_requests_are_validated(changes: dict[str, Any], reason: str | None) -> None:
    assert check_request(replace(REQUEST, **changes), NOW) == reason


def test_limits_can_be_given() -> None:
    assert check_event(EVENT, NOW - 10, Limits(max_ahead_ms=9)) == "time_in_future"
    assert check_event(EVENT, NOW - 10, Limits(max_ahead_ms=10)) is None
    assert check_event(replace(EVENT, user_id="long"), NOW, Limits(max_id_bytes=3)) == "id_too_long"


def test_a_record_without_a_kafka_time_is_never_ahead() -> None:
    assert check_event(EVENT, -1) is None
    assert check_event(EVENT, 0) == "time_in_future"


def test_every_reason_has_a_sentence() -> None:
    assert all(sentence.endswith(".") for sentence in DETAILS.values())
