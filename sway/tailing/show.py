"""A record as a line for a person, or as JSON for a program. Pure."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.convert import to_mapping
from schemas.errors import DecodeError
from schemas.records import Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TEXT = 100
_TIMES = ("_at", "timestamp")


def as_line(where: str, timestamp_ms: int, record: Record | DecodeError) -> str:
    """Return one line: Kafka's time, where the record is, its fields that say something.

    Long texts are cut; what a terminal would obey is escaped, for it comes from strangers.
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
    """Return a JSON object without line breaks; bytes are base64, times milliseconds."""
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
    """Return a time as 2026-01-31T12:00:00.000Z, or the number if it is beyond the year 9999 or none."""
    try:
        moment = _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return str(time_ms)
    if time_ms < 0:
        return str(time_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def printable(value: str) -> str:
    """Return a stranger's text fit for a terminal: cut, what it would obey escaped, in quotes if it has spaces."""
    cut = value if len(value) <= _MAX_TEXT else value[: _MAX_TEXT - 1] + "…"
    plain = cut if cut.isprintable() else cut.encode("unicode_escape").decode("ascii")
    return f'"{plain}"' if not plain or " " in plain else plain


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
    raise TypeError(f"{type(value).__name__} is no JSON")
