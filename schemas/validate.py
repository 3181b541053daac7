"""Content checks of decoded records, fast enough to run on every event.

Each check returns None, or a stable reason code for the dead letter and the metric:

missing_user_id, missing_event_id     empty or only white space
id_too_long                           an id longer than max_id_bytes in UTF-8
not_finite                            a value that is NaN or infinite
out_of_range                          y or z of an outcome outside [0, 1], or NaN
time_before_1970                      a negative timestamp
time_in_future                        a timestamp further ahead of Kafka's than allowed
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
"""The message for each reason code; none contains a value of the record."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a record's contents.

    max_ahead_ms: how far a record's own timestamp may be ahead of Kafka's. It allows for clock skew, but one event
    from the year 9999 must not expire all pending labels.
    """

    max_id_bytes: int = 512
    max_ahead_ms: int = 3_600_000


DEFAULT_LIMITS = Limits()


def check_event(event: BehaviorEvent, kafka_timestamp_ms: int, limits: Limits = DEFAULT_LIMITS) -> str | None:
    """Return the reason code of an invalid event, or None if it is valid.

    kafka_timestamp_ms: pass the consumer's own time for a record without a timestamp; a negative value disables
    the time_in_future check.
    """
    reason = _check_ids(event.event_id, event.user_id, event.item_id, limits.max_id_bytes)
    if reason:
        return reason
    if event.value is not None and not isfinite(event.value):
        return "not_finite"
    return _check_time(event.occurred_at, kafka_timestamp_ms, limits.max_ahead_ms)


def check_outcome(outcome: Outcome, kafka_timestamp_ms: int, limits: Limits = DEFAULT_LIMITS) -> str | None:
    """Return the reason code of an invalid outcome, or None. Arguments as for check_event."""
    reason = _check_ids(outcome.event_id, outcome.user_id, "", limits.max_id_bytes)
    if reason:
        return reason
    # NaN fails every comparison, so this rejects it too.
    if not 0.0 <= outcome.y <= 1.0 or not (outcome.z is None or 0.0 <= outcome.z <= 1.0):
        return "out_of_range"
    return _check_time(outcome.observed_at, kafka_timestamp_ms, limits.max_ahead_ms)


def check_request(
    request: RecommendationRequest, kafka_timestamp_ms: int, limits: Limits = DEFAULT_LIMITS
) -> str | None:
    """Return the reason code of an invalid request, or None. Arguments as for check_event."""
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
    # A character takes at most four bytes, so the character counts suffice for almost every id.
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
