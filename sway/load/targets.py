"""The record types that can be loaded: from the values of a row to a valid, encoded record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from schemas.errors import EncodeError
from schemas.records import BehaviorEvent, Outcome
from schemas.validate import DETAILS, check_event, check_outcome
from sway.load.rows import RowError, RowReader


@dataclass(frozen=True, slots=True)
class Target:
    """The record type to load, its validation, and the field that holds its time in ms."""

    record_type: type[Any]
    check: Callable[[Any, int], str | None]
    time_ms: Callable[[Any], int]


EVENTS = Target(BehaviorEvent, check_event, attrgetter("occurred_at"))
OUTCOMES = Target(Outcome, check_outcome, attrgetter("observed_at"))


def read_record(target: Target, reader: RowReader[Any], values: Mapping[str, Any], now_ms: int) -> Any:
    """Return the record of a row. Raises RowError if the row is invalid, or a worker would refuse the record."""
    record = reader.read(values)
    problem = target.check(record, now_ms)
    if problem:
        raise RowError(f"{problem}: {DETAILS[problem]}")
    return record


def encode_record(encode: Callable[[Any], bytes], record: Any) -> tuple[bytes, bytes]:
    """Return the key and the value of a record. Raises RowError if a text cannot be encoded."""
    try:
        return record.user_id.encode(), encode(record)
    except (EncodeError, UnicodeEncodeError):
        # Not chained: the error contains the text.
        raise RowError("a text contains an unpaired surrogate, which UTF-8 cannot encode") from None


def too_large(value: bytes) -> str:
    """Return the problem of a row whose record Kafka refuses."""
    return f"{len(value)} bytes exceed Kafka's maximum message size"
