"""Converts a requested range to offsets. Performs no I/O: the caller passes what the topic retains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from stream.replay.errors import PastRetentionError, RangeError
from stream.replay.plan import Span


@dataclass(frozen=True, slots=True)
class AtTime:
    """The first record of each partition with at least this record timestamp, in epoch milliseconds."""

    time_ms: int


@dataclass(frozen=True, slots=True)
class AtOffsets:
    """An offset by partition; other partitions are not replayed."""

    offsets: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Oldest:
    """The oldest record that retention has left."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The end offset when the plan is made."""


Bound = AtTime | AtOffsets | Oldest | Newest


@dataclass(frozen=True, slots=True)
class Retained:
    """The retained records of a partition: offset range, and timestamp of the first record.

    oldest_ms: None if there are no records. at_time: returns the first offset with at least the given timestamp, or the
    end offset if there is none.
    """

    span: Span
    oldest_ms: int | None
    at_time: Callable[[int], int]


def find_ranges(
    topic: str,
    start: Bound,
    end: Bound,
    retained: Mapping[int, Retained],
    retained_since_ms: int | None = None,
) -> dict[int, Span]:
    """Return the offsets to score, by partition.

    retained_since_ms: earliest timestamp that is still guaranteed to be retained, or None if unknown.
    Raises PastRetentionError that names the oldest offsets if retention has deleted the start of the range; RangeError
    if a partition does not exist, an offset is past the end, or the range is empty.
    """
    chosen = _chosen(topic, start, end, retained)
    past = [
        oldest
        for number in chosen
        if (oldest := _past_retention(topic, number, start, retained[number], retained_since_ms))
    ]
    if past:
        raise PastRetentionError(
            f"Retention has deleted the start of the range: {'; '.join(past)}. Start there (--from oldest) or later."
        )
    found = {
        number: Span(
            _offset(topic, number, start, retained[number]), _offset(topic, number, end, retained[number])
        )
        for number in chosen
    }
    reversed_ranges = [
        f"{topic}[{number}]: {span.start} to {span.end}"
        for number, span in found.items()
        if span.end < span.start
    ]
    if reversed_ranges:
        raise RangeError(f"The range ends before it begins: {'; '.join(reversed_ranges)}.")
    if not any(span.size for span in found.values()):
        holds = ", ".join(
            f"[{number}] {retained[number].span.start} to {retained[number].span.end}" for number in chosen
        )
        raise RangeError(f"The range contains no records of {topic}. It has the offsets {holds}.")
    return found


def _chosen(topic: str, start: Bound, end: Bound, retained: Mapping[int, Retained]) -> list[int]:
    named = [set(bound.offsets) for bound in (start, end) if isinstance(bound, AtOffsets)]
    chosen = set(retained) if not named else set.union(*named)
    if any(one != chosen for one in named):
        raise RangeError(
            "--from and --to name different partitions: name the same ones, or none in one of them."
        )
    unknown = sorted(chosen - set(retained))
    if unknown:
        raise RangeError(f"{topic} has no partition {unknown[0]}: it has 0 to {max(retained)}.")
    return sorted(chosen)


def _past_retention(
    topic: str, number: int, start: Bound, retained: Retained, retained_since_ms: int | None
) -> str | None:
    """Return a description of the oldest record if records of the range are gone; otherwise None."""
    oldest = retained.span.start
    if not oldest:
        return None
    where = f"the oldest offset of {topic}[{number}] is {oldest}"
    if isinstance(start, AtOffsets):
        return where if start.offsets[number] < oldest else None
    if isinstance(start, AtTime) and retained_since_ms is not None and start.time_ms >= retained_since_ms:
        return None
    if isinstance(start, AtTime) and retained.oldest_ms is not None and start.time_ms < retained.oldest_ms:
        moment = datetime.fromtimestamp(retained.oldest_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return f"{where}, of {moment}"
    return None


def _offset(topic: str, number: int, bound: Bound, retained: Retained) -> int:
    match bound:
        case AtTime(time_ms):
            return retained.at_time(time_ms)
        case AtOffsets(offsets):
            if offsets[number] > retained.span.end:
                raise RangeError(
                    f"{topic}[{number}] ends at offset {retained.span.end}; {offsets[number]} is past it."
                )
            return offsets[number]
        case Oldest():
            return retained.span.start
        case Newest():
            return retained.span.end
