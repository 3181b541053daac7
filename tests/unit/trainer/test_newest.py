"""The newest examples of many partitions are found without reading much more than them."""

from collections.abc import Callable

import pytest

from schemas.records import OffsetRange
from trainer.dataset import Example
from trainer.newest import Found, NewestFirst

DEEP = 1_000_000
"""Offsets per partition. A hundred partitions have a hundred million."""


class Partitions:
    """Partitions of DEEP offsets.

    labeled_at: returns the label time of a partition and an offset. hole: returns whether an offset has no record.
    read: number of examples read. rounds: number of rounds of reading.
    """

    def __init__(
        self,
        count: int,
        labeled_at: Callable[[int, int], int],
        hole: Callable[[int], bool] = lambda _offset: False,
    ) -> None:
        self.spans = [OffsetRange("t", number, 0, DEEP) for number in range(count)]
        self._labeled_at = labeled_at
        self._hole = hole
        self.read = 0
        self.rounds = 0

    def newest(self, wanted: int) -> list[int]:
        """Search like trainer.ranges; return the label times of the examples found, in order."""
        search = NewestFirst(self.spans, wanted)
        while ranges := search.next_ranges():
            self.rounds += 1
            for part in ranges:
                for offset in range(part.start, part.end):
                    if not self._hole(offset):
                        self.read += 1
                        search.add(self._found(part.partition, offset))
        return sorted(one.occurred_at for one in search.examples())

    def _found(self, partition: int, offset: int) -> Found:
        at = self._labeled_at(partition, offset)
        return Found("t", partition, offset, at, Example("", "", 0.0, None, at))


def test_balanced_partitions_read_at_most_twice_the_result() -> None:
    partitions = Partitions(100, lambda partition, offset: 100 * offset + partition)
    assert partitions.newest(20_000) == list(range(100 * DEEP - 20_000, 100 * DEEP))
    assert partitions.read <= 40_000
    assert partitions.rounds <= 10


def test_one_newest_partition_reads_at_most_three_times_the_result() -> None:
    partitions = Partitions(100, lambda partition, offset: offset + 2 * DEEP * (partition == 37))
    assert partitions.newest(20_000) == list(range(3 * DEEP - 20_000, 3 * DEEP))
    assert partitions.read <= 60_000
    assert partitions.rounds <= 30


def test_markers_between_examples_cost_only_rounds() -> None:
    partitions = Partitions(
        100, lambda partition, offset: 100 * offset + partition, lambda offset: offset % 4 > 0
    )
    assert len(partitions.newest(20_000)) == 20_000
    assert partitions.read <= 40_000


def test_small_partitions_are_read_once() -> None:
    search = NewestFirst([OffsetRange("t", 0, 5, 8), OffsetRange("t", 1, 3, 3)], 100)
    assert search.next_ranges() == [OffsetRange("t", 0, 5, 8)]
    assert search.next_ranges() == []
    assert search.examples() == []


def test_examples_are_ordered_by_partition_and_offset() -> None:
    search = NewestFirst([OffsetRange("t", number, 0, 9) for number in range(2)], 9)
    search.next_ranges()
    for partition, offset, at in ((1, 4, 10), (0, 8, 20), (1, 5, 10), (0, 7, 15)):
        search.add(Found("t", partition, offset, at, Example("", f"{partition}@{offset}", 0.0, None, at)))
    assert [one.target for one in search.examples()] == ["0@7", "0@8", "1@4", "1@5"]


def test_a_search_for_zero_examples_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted=0"):
        NewestFirst([], 0)
