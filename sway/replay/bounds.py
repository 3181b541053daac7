"""Parsing of replay bounds (a time, an age, an end of the topic, or offsets) and of durations."""

import re
from datetime import UTC, datetime

from stream.replay.ranges import AtOffsets, AtTime, Bound, Newest, Oldest
from sway.errors import CommandError

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
_OFFSETS = re.compile(r"\d+:\d+(,\s*\d+:\d+)*")
_ALLOWED = (
    "a time (2026-11-01, 2026-11-01T12:30+01:00; UTC without an offset), an age (7d, 12h, 30m), `oldest`, `newest`, or "
    "an offset per partition (0:1200,1:980)"
)


def parse_bound(text: str, now_ms: int) -> Bound:
    """Parse a bound. Raises CommandError if the text has none of the allowed forms."""
    text = text.strip()
    if text in {"oldest", "newest"}:
        return Oldest() if text == "oldest" else Newest()
    if _OFFSETS.fullmatch(text):
        pairs = [pair.split(":") for pair in text.split(",")]
        offsets = {int(partition): int(offset) for partition, offset in pairs}
        if len(offsets) < len(pairs):
            raise CommandError(f"{text!r} names a partition twice: give one offset per partition")
        return AtOffsets(offsets)
    if _DURATION.fullmatch(text):
        return AtTime(now_ms - parse_duration_ms(text))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"invalid bound {text!r}: give {_ALLOWED}") from None
    return AtTime(round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000))


def parse_duration_ms(text: str) -> int:
    """Parse a number with the unit s, m, h, d or w into milliseconds. Raises CommandError if it is invalid."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise CommandError(f"invalid duration {text!r}: give one such as 90s, 30m, 12h, 7d or 2w")
    return round(float(match[1]) * _UNITS_MS[match[2]])


def format_duration(seconds: float) -> str:
    """Format a duration in its two largest units, such as 2 h 10 min."""
    whole = round(seconds)
    if whole < 1:
        return "less than a second"
    parts = [(whole // 86_400, "d"), (whole // 3_600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next(index for index, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)
