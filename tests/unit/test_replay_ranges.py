"""From what a person asks for to offsets: what is found, and what is said when it cannot be."""

import re

import pytest

from stream.replay.errors import PastRetentionError, RangeError
from stream.replay.plan import Span
from stream.replay.ranges import AtOffsets, AtTime, Bound, Newest, Oldest, Retained, find_ranges

BEGAN_MS = 1_750_000_000_000  # 2025-06-15T15:06:40Z


def held(start: int, end: int) -> Retained:
    """A partition with a record each second from BEGAN_MS on, of which retention has left those from start."""

    def at_time(time_ms: int) -> int:
        return min(max(start, (time_ms - BEGAN_MS + 999) // 1000), end)

    return Retained(Span(start, end), BEGAN_MS + 1000 * start if end > start else None, at_time)


HELD = {0: held(0, 100), 1: held(0, 80), 2: held(0, 0)}
PAST = {0: held(40, 100), 1: held(0, 80)}


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
def test_bounds_become_half_open_offsets_of_the_partitions_that_they_name(
    start: Bound, end: Bound, expected: dict[int, tuple[int, int]]
) -> None:
    assert find_ranges("t", start, end, HELD) == expected


@pytest.mark.parametrize(
    ("start", "end", "said"),
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
def test_a_range_that_cannot_be_says_what_the_topic_holds(start: Bound, end: Bound, said: str) -> None:
    with pytest.raises(RangeError, match=re.escape(said)) as caught:
        find_ranges("t", start, end, HELD)
    assert not isinstance(caught.value, PastRetentionError)


@pytest.mark.parametrize(
    ("start", "said"),
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
def test_what_is_past_retention_is_refused_and_the_oldest_offset_and_its_time_are_named(
    start: Bound, said: str
) -> None:
    with pytest.raises(PastRetentionError, match=re.escape(said)):
        find_ranges("t", start, Newest(), PAST)


def test_every_partition_whose_beginning_is_gone_is_named() -> None:
    with pytest.raises(PastRetentionError, match=re.escape("t[0] is 40; the oldest offset of t[1] is 7. ")):
        find_ranges("t", AtOffsets({0: 0, 1: 0}), Newest(), {0: held(40, 100), 1: held(7, 80)})


@pytest.mark.parametrize("start", [Oldest(), AtOffsets({0: 40, 1: 0}), seconds(40)])
def test_the_oldest_that_is_left_is_not_past_retention(start: Bound) -> None:
    assert find_ranges("t", start, Newest(), PAST)[0] == (40, 100)


def test_a_partition_whose_records_are_all_gone_is_empty_and_not_past_retention() -> None:
    ranges = find_ranges("t", seconds(0), Newest(), {0: held(100, 100), 1: held(0, 80)})
    assert ranges == {0: (100, 100), 1: (0, 80)}
