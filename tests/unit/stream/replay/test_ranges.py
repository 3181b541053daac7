"""Requested bounds become offset ranges, or an error that names what the topic holds."""

import re

import pytest

from stream.replay.errors import PastRetentionError, RangeError
from stream.replay.plan import Span
from stream.replay.ranges import AtOffsets, AtTime, Bound, Newest, Oldest, Retained, find_ranges

BEGAN_MS = 1_750_000_000_000  # 2025-06-15T15:06:40Z


def retained(start: int, end: int) -> Retained:
    """Return a partition with one record per second from BEGAN_MS, of which retention has kept those from start."""

    def at_time(time_ms: int) -> int:
        return min(max(start, (time_ms - BEGAN_MS + 999) // 1000), end)

    return Retained(Span(start, end), BEGAN_MS + 1000 * start if end > start else None, at_time)


TOPIC = {0: retained(0, 100), 1: retained(0, 80), 2: retained(0, 0)}
TRUNCATED_TOPIC = {0: retained(40, 100), 1: retained(0, 80)}


def seconds(count: int) -> AtTime:
    return AtTime(BEGAN_MS + 1000 * count)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (Oldest(), Newest(), {0: (0, 100), 1: (0, 80), 2: (0, 0)}),
        (seconds(10), seconds(90), {0: (10, 90), 1: (10, 80), 2: (0, 0)}),
        (seconds(-5), AtTime(BEGAN_MS + 1), {0: (0, 1), 1: (0, 1), 2: (0, 0)}),
        (AtOffsets({0: 7}), Newest(), {0: (7, 100)}),
        (Oldest(), AtOffsets({1: 5, 0: 100}), {0: (0, 100), 1: (0, 5)}),
        (AtOffsets({0: 3, 1: 4}), AtOffsets({0: 3, 1: 9}), {0: (3, 3), 1: (4, 9)}),
        (AtOffsets({0: 3}), seconds(4), {0: (3, 4)}),
    ],
)
def test_bounds_become_half_open_offset_ranges(
    start: Bound, end: Bound, expected: dict[int, tuple[int, int]]
) -> None:
    assert find_ranges("t", start, end, TOPIC) == expected


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (AtOffsets({0: 1}), AtOffsets({1: 9}), "--from and --to name different partitions"),
        (AtOffsets({0: 1}), AtOffsets({0: 3, 1: 9}), "--from and --to name different partitions"),
        (AtOffsets({7: 1, 9: 1}), Newest(), "t has no partition 7: it has 0 to 2."),
        (AtOffsets({0: 101}), Newest(), "t[0] ends at offset 100; 101 is past it."),
        (Oldest(), AtOffsets({1: 81}), "t[1] ends at offset 80; 81 is past it."),
        (AtOffsets({0: 9, 1: 3}), AtOffsets({0: 8, 1: 4}), "ends before it begins: t[0]: 9 to 8."),
        (seconds(50), seconds(40), "ends before it begins: t[0]: 50 to 40; t[1]: 50 to 40."),
        (
            seconds(500),
            Newest(),
            "The range contains no records of t. It has the offsets [0] 0 to 100, [1] 0 to 80",
        ),
        (AtOffsets({0: 9}), AtOffsets({0: 9}), "It has the offsets [0] 0 to 100."),
        (AtOffsets({2: 0}), Newest(), "It has the offsets [2] 0 to 0."),
    ],
)
def test_an_impossible_range_names_what_the_topic_holds(start: Bound, end: Bound, message: str) -> None:
    with pytest.raises(RangeError, match=re.escape(message)) as caught:
        find_ranges("t", start, end, TOPIC)
    assert not isinstance(caught.value, PastRetentionError)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (
            AtOffsets({0: 39, 1: 0}),
            "deleted the start of the range: the oldest offset of t[0] is 40. Start there",
        ),
        (
            AtTime(BEGAN_MS + 39_999),
            "the oldest offset of t[0] is 40, of 2025-06-15T15:07:20.000+00:00. Start there (--from oldest) or later.",
        ),
    ],
)
def test_a_range_past_retention_names_the_oldest_offset(start: Bound, message: str) -> None:
    with pytest.raises(PastRetentionError, match=re.escape(message)):
        find_ranges("t", start, Newest(), TRUNCATED_TOPIC)


def test_every_partition_past_retention_is_named() -> None:
    with pytest.raises(PastRetentionError, match=re.escape("t[0] is 40; the oldest offset of t[1] is 7. ")):
        find_ranges("t", AtOffsets({0: 0, 1: 0}), Newest(), {0: retained(40, 100), 1: retained(7, 80)})


@pytest.mark.parametrize("start", [Oldest(), AtOffsets({0: 40, 1: 0}), seconds(40)])
def test_the_oldest_retained_offset_is_not_past_retention(start: Bound) -> None:
    assert find_ranges("t", start, Newest(), TRUNCATED_TOPIC)[0] == (40, 100)


def test_a_partition_without_retained_records_has_an_empty_range() -> None:
    ranges = find_ranges("t", seconds(0), Newest(), {0: retained(100, 100), 1: retained(0, 80)})
    assert ranges == {0: (100, 100), 1: (0, 80)}
