"""Rendering of a record as a line of text or as JSON."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.convert import to_mapping
from schemas.errors import DecodeError
from schemas.records import Record
from sway.untrusted import printable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("_at", "timestamp")


def as_line(where: str, timestamp_ms: int, record: Record | DecodeError) -> str:
    """Return one line: the Kafka timestamp, the position, and the non-empty fields of the record.

    Long texts are truncated, and control characters are escaped, because the texts are untrusted.
    """
    head = f"{time_text(timestamp_ms)} {where}"
    if isinstance(record, DecodeError):
        return f"{head} cannot be decoded ({record.reason}): {record}"
    return f"{head} {type(record).__name__} {_fields(to_mapping(record))}"


def as_json(
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    key: bytes | None,
    record: Record | DecodeError,
) -> str:
    """Return a JSON object on one line; bytes are base64, times are milliseconds."""
    shown: dict[str, Any] = {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": timestamp_ms,
        "key": None if key is None else key.decode("utf-8", "replace"),
    }
    if isinstance(record, DecodeError):
        shown |= {"error": record.reason, "detail": str(record)}
    else:
        shown |= {"type": type(record).__name__, "record": to_mapping(record)}
    return json.dumps(shown, default=_bytes_in_json)


def time_text(time_ms: int) -> str:
    """Format a time in ms as 2026-01-31T12:00:00.000Z; return the number if it is negative or after the year 9999."""
    try:
        moment = _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return str(time_ms)
    if time_ms < 0:
        return str(time_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def _fields(mapping: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}={_value(name, value)}" for name, value in mapping.items() if value not in ("", None, {}, [])
    )


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return time_text(value) if name.endswith(_TIMES) else str(value)
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return "{" + _fields(value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(name, item) for item in value) + "]"
    return printable(str(value))


def _bytes_in_json(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
