"""From what a person asks for to offsets. Pure: what the topic holds is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from stream.replay.errors import PastRetentionError, RangeError
from stream.replay.plan import Span


@dataclass(frozen=True, slots=True)
class AtTime:
    """The first record of each partition whose Kafka time is not before this; milliseconds since 1970."""

    time_ms: int


@dataclass(frozen=True, slots=True)
class AtOffsets:
    """An offset for each of some partitions; the others are not replayed."""

    offsets: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Oldest:
    """What retention has left."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The end as it is when the plan is made."""


Bound = AtTime | AtOffsets | Oldest | Newest


@dataclass(frozen=True, slots=True)
class Held:
    """What a topic's partition holds: offsets from the oldest to the end, and Kafka's time of its first record.

    oldest_ms: None for a partition without records. at_time: the first offset of a time or later, the end if there is
    none.
    """

    span: Span
    oldest_ms: int | None
    at_time: Callable[[int], int]


def find_ranges(
    topic: str,
    start: Bound,
    end: Bound,
    held: Mapping[int, Held],
    kept_since_ms: int | None = None,
) -> dict[int, Span]:
    """Return the offsets to score, by partition.

    kept_since_ms: since when retention has taken nothing, by Kafka's times; None if nobody knows.
    Raises PastRetentionError, naming the oldest offsets, if retention has taken the beginning of what is asked for;
    RangeError if a partition does not exist, an offset is past the end, or nothing is in the range.
    """
    chosen = _chosen(topic, start, end, held)
    past = [
        told
        for number in chosen
        if (told := _past_retention(topic, number, start, held[number], kept_since_ms))
    ]
    if past:
        raise PastRetentionError(
            f"Retention has taken the beginning of that range: {'; '.join(past)}. Begin there (--from oldest) or later."
        )
    found = {
        number: Span(_offset(topic, number, start, held[number]), _offset(topic, number, end, held[number]))
        for number in chosen
    }
    upside_down = [
        f"{topic}[{number}]: {span.start} to {span.end}"
        for number, span in found.items()
        if span.end < span.start
    ]
    if upside_down:
        raise RangeError(f"The range ends before it begins: {'; '.join(upside_down)}.")
    if not any(span.size for span in found.values()):
        holds = ", ".join(
            f"[{number}] {held[number].span.start} to {held[number].span.end}" for number in chosen
        )
        raise RangeError(f"Nothing of {topic} is in that range. It holds the offsets {holds}.")
    return found


def _chosen(topic: str, start: Bound, end: Bound, held: Mapping[int, Held]) -> list[int]:
    named = [set(bound.offsets) for bound in (start, end) if isinstance(bound, AtOffsets)]
    chosen = set(held) if not named else set.union(*named)
    if any(one != chosen for one in named):
        raise RangeError(
            "--from and --to name different partitions: name the same ones, or none in one of them."
        )
    unknown = sorted(chosen - set(held))
    if unknown:
        raise RangeError(f"{topic} has no partition {unknown[0]}: it has 0 to {max(held)}.")
    return sorted(chosen)


def _past_retention(
    topic: str, number: int, start: Bound, held: Held, kept_since_ms: int | None
) -> str | None:
    """Return what to say if records of the range are gone: those before the oldest, where there were any."""
    oldest = held.span.start
    if not oldest:
        return None
    where = f"the oldest offset of {topic}[{number}] is {oldest}"
    if isinstance(start, AtOffsets):
        return where if start.offsets[number] < oldest else None
    if isinstance(start, AtTime) and kept_since_ms is not None and start.time_ms >= kept_since_ms:
        return None
    if isinstance(start, AtTime) and held.oldest_ms is not None and start.time_ms < held.oldest_ms:
        moment = datetime.fromtimestamp(held.oldest_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return f"{where}, of {moment}"
    return None


def _offset(topic: str, number: int, bound: Bound, held: Held) -> int:
    match bound:
        case AtTime(time_ms):
            return held.at_time(time_ms)
        case AtOffsets(offsets):
            if offsets[number] > held.span.end:
                raise RangeError(
                    f"{topic}[{number}] ends at offset {held.span.end}; {offsets[number]} is past it."
                )
            return offsets[number]
        case Oldest():
            return held.span.start
        case Newest():
            return held.span.end
