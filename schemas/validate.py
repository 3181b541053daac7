"""Checks of what a well-formed record says: pure, and fast enough for every event.

Each check returns None, or a stable reason code for the dead letter and the metric:

missing_user_id, missing_event_id     empty, or nothing but white space
id_too_long                           an id of more than max_id_bytes in UTF-8
not_finite                            a value that is NaN or infinite
out_of_range                          y or z of an outcome outside [0, 1], or NaN
time_before_1970                      a negative time
time_in_future                        a time further ahead of Kafka's own than allowed
"""

from dataclasses import dataclass
from math import isfinite

from schemas.records import BehaviorEvent, Outcome, RecommendationRequest

DETAILS = {
    "missing_user_id": "The user_id is empty.",
    "missing_event_id": "The event_id (or request_id) is empty.",
    "id_too_long": "An id is longer than allowed.",
    "not_finite": "The value is NaN or infinite.",
    "out_of_range": "y or z lies outside [0, 1].",
    "time_before_1970": "The record's own time is before 1970.",
    "time_in_future": "The record's own time is further ahead of Kafka's timestamp than allowed.",
}
"""The sentence for each reason; none holds anything of the record."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a record may say.

    max_ahead_ms: how far a record's own time may be ahead of Kafka's timestamp; a clock may be wrong, but one
    event from the year 9999 must not expire everybody's pending labels.
    """

    max_id_bytes: int = 512
    max_ahead_ms: int = 3_600_000


DEFAULT_LIMITS = Limits()


def check_event(event: BehaviorEvent, kafka_timestamp_ms: int, limits: Limits = DEFAULT_LIMITS) -> str | None:
    """What is wrong with an event, as a reason code; None if nothing is.

    kafka_timestamp_ms: give the reader's own time for a record that has none; below 0, no time is too far ahead.
    """
    reason = _check_ids(event.event_id, event.user_id, event.item_id, limits.max_id_bytes)
    if reason:
        return reason
    if event.value is not None and not isfinite(event.value):
        return "not_finite"
    return _check_time(event.occurred_at, kafka_timestamp_ms, limits.max_ahead_ms)


def check_outcome(outcome: Outcome, kafka_timestamp_ms: int, limits: Limits = DEFAULT_LIMITS) -> str | None:
    """What is wrong with an outcome, as a reason code; None if nothing is. As check_event."""
    reason = _check_ids(outcome.event_id, outcome.user_id, "", limits.max_id_bytes)
    if reason:
        return reason
    # a NaN fails every comparison, so this refuses it too
    if not 0.0 <= outcome.y <= 1.0 or not (outcome.z is None or 0.0 <= outcome.z <= 1.0):
        return "out_of_range"
    return _check_time(outcome.observed_at, kafka_timestamp_ms, limits.max_ahead_ms)


def check_request(
    request: RecommendationRequest, kafka_timestamp_ms: int, limits: Limits = DEFAULT_LIMITS
) -> str | None:
    """What is wrong with a request, as a reason code; None if nothing is. As check_event."""
    reason = _check_ids(request.request_id, request.user_id, "", limits.max_id_bytes)
    if reason:
        return reason
    for candidate in request.candidates:
        if _too_long(candidate.item_id, limits.max_id_bytes):
            return "id_too_long"
        if candidate.value is not None and not isfinite(candidate.value):
            return "not_finite"
    return _check_time(request.requested_at, kafka_timestamp_ms, limits.max_ahead_ms)


def _check_ids(event_id: str, user_id: str, item_id: str, max_bytes: int) -> str | None:
    if not user_id or user_id.isspace():
        return "missing_user_id"
    if not event_id or event_id.isspace():
        return "missing_event_id"
    # no character takes more than four bytes: almost every id is settled by its length
    if 4 * (len(event_id) + len(user_id) + len(item_id)) <= max_bytes:
        return None
    if any(_too_long(identifier, max_bytes) for identifier in (event_id, user_id, item_id)):
        return "id_too_long"
    return None


def _too_long(identifier: str, max_bytes: int) -> bool:
    return len(identifier) * 4 > max_bytes and len(identifier.encode(errors="surrogatepass")) > max_bytes


def _check_time(time_ms: int, kafka_timestamp_ms: int, max_ahead_ms: int) -> str | None:
    if time_ms < 0:
        return "time_before_1970"
    if 0 <= kafka_timestamp_ms < time_ms - max_ahead_ms:
        return "time_in_future"
    return None
