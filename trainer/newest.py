"""The newest examples of many partitions, found by reading each backwards in small ranges. Pure.

Every partition may hold all of the newest, or none: a fixed share of each would be too little, and all that is wanted
from each would be far too much. So the search goes back in rounds, a little in each partition, and leaves a partition
as soon as what it gives is older than all that is kept.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from schemas.records import OffsetRange
from trainer.dataset import Example

_LEAST_OFFSETS = 64  # of a range: a broker sends whole batches, so smaller ones would be sent again and again
_FIRST_ROUNDS = 4  # balanced partitions give all that is wanted in so many
_GROWTH = (
    4  # a later range is a quarter of what was read: some 25 rounds where one of a hundred partitions has all
)


class Found(NamedTuple):
    """An example and where it lies. labeled_at: stream time at which it was written, in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    labeled_at: int
    example: Example


@dataclass(slots=True)
class _Partition:
    """reached: all from here to the span's end was asked for. newest: labeled_at of the newest of the last range."""

    span: OffsetRange
    reached: int
    newest: int | None = None

    def step_back(self, least: int) -> OffsetRange:
        offsets = max(least, (self.span.end - self.reached) // _GROWTH)
        end, self.reached = self.reached, max(self.span.start, self.reached - offsets)
        return OffsetRange(self.span.topic, self.span.partition, self.reached, end)


class NewestFirst:
    """Says what to read next, and keeps the newest of what was read.

    spans: the offsets that may be read, at most one range a partition. wanted: how many examples are kept, at least 1.
    Newest is by labeled_at, which rises with the offsets of a partition. Read all of what next_ranges() returns, and
    add() each example in the order of its partition, before asking again. Memory holds `wanted` examples.
    """

    def __init__(self, spans: Sequence[OffsetRange], wanted: int) -> None:
        if wanted < 1:
            raise ValueError(f"wanted={wanted} must be at least 1")
        self._wanted = wanted
        self._least = max(_LEAST_OFFSETS, ceil(wanted / (_FIRST_ROUNDS * max(1, len(spans)))))
        self._partitions = {(span.topic, span.partition): _Partition(span, span.end) for span in spans}
        self._kept: list[tuple[int, Found]] = []  # a heap, the oldest first

    def next_ranges(self) -> list[OffsetRange]:
        """Return what to read next, one range a partition; nothing once no newer example can be found."""
        return [
            partition.step_back(self._least)
            for partition in self._partitions.values()
            if self._may_hold_newer(partition)
        ]

    def add(self, found: Found) -> None:
        """Take in an example of the ranges asked for."""
        self._partitions[found.topic, found.partition].newest = found.labeled_at
        entry = (found.labeled_at, found)
        if len(self._kept) < self._wanted:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def examples(self) -> list[Example]:
        """Return what is kept, by topic, partition and offset."""
        return in_order(found for _, found in self._kept)

    def _may_hold_newer(self, partition: _Partition) -> bool:
        if partition.reached <= partition.span.start:
            return False
        if len(self._kept) < self._wanted or partition.newest is None:
            return True
        return partition.newest > self._kept[0][0]


def in_order(found: Iterable[Found]) -> list[Example]:
    """Return the examples by topic, partition and offset, in whatever order they were read."""
    return [one.example for one in sorted(found, key=lambda one: (one.topic, one.partition, one.offset))]
