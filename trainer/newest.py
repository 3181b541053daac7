"""Selection of the newest examples of many partitions, read backwards in small ranges. No I/O.

One partition may hold all of the newest examples, or none. A fixed share per partition would miss some, and the full
number per partition would read far too many. The search therefore goes back in rounds, one small range per partition,
and drops a partition once its examples are older than all selected ones.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from schemas.records import OffsetRange
from trainer.dataset import Example

# The minimum size of a range. A broker sends whole record batches, and smaller ranges would fetch a batch repeatedly.
_MIN_OFFSETS = 64
# The number of rounds for balanced partitions.
_FIRST_ROUNDS = 4
# A later range is 1/4 of the offsets read so far: about 25 rounds if one of a hundred partitions holds all.
_GROWTH = 4


class Found(NamedTuple):
    """An example and its coordinates. labeled_at: the stream time at its write, milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    labeled_at: int
    example: Example


@dataclass(slots=True)
class _Partition:
    """The search state of a partition.

    reached: the lowest offset requested so far. newest: labeled_at of the newest example in the last range.
    """

    span: OffsetRange
    reached: int
    newest: int | None = None

    def step_back(self, least: int) -> OffsetRange:
        offsets = max(least, (self.span.end - self.reached) // _GROWTH)
        end, self.reached = self.reached, max(self.span.start, self.reached - offsets)
        return OffsetRange(self.span.topic, self.span.partition, self.reached, end)


class NewestFirst:
    """Plans the ranges to read, and keeps the newest examples.

    spans: the offsets to search, at most one range per partition. wanted: the number of examples to keep, at least 1.
    The order is by labeled_at, which increases with the offset within a partition. Read all ranges of next_ranges() and
    add() each example, in offset order per partition, before the next call. Memory is bounded by `wanted` examples.
    Raises ValueError for wanted below 1.
    """

    def __init__(self, spans: Sequence[OffsetRange], wanted: int) -> None:
        if wanted < 1:
            raise ValueError(f"wanted={wanted} must be at least 1")
        self._wanted = wanted
        self._least = max(_MIN_OFFSETS, ceil(wanted / (_FIRST_ROUNDS * max(1, len(spans)))))
        self._partitions = {(span.topic, span.partition): _Partition(span, span.end) for span in spans}
        self._kept: list[tuple[int, Found]] = []  # a heap, the oldest first

    def next_ranges(self) -> list[OffsetRange]:
        """Return the next ranges to read, at most one per partition; empty when the search is complete."""
        return [
            partition.step_back(self._least)
            for partition in self._partitions.values()
            if self._may_hold_newer(partition)
        ]

    def add(self, found: Found) -> None:
        """Add an example from the ranges of the last next_ranges() call."""
        self._partitions[found.topic, found.partition].newest = found.labeled_at
        entry = (found.labeled_at, found)
        if len(self._kept) < self._wanted:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def examples(self) -> list[Example]:
        """Return the selected examples, sorted by topic, partition and offset."""
        return in_order(found for _, found in self._kept)

    def _may_hold_newer(self, partition: _Partition) -> bool:
        if partition.reached <= partition.span.start:
            return False
        if len(self._kept) < self._wanted or partition.newest is None:
            return True
        return partition.newest > self._kept[0][0]


def in_order(found: Iterable[Found]) -> list[Example]:
    """Return the examples sorted by topic, partition and offset."""
    return [one.example for one in sorted(found, key=lambda one: (one.topic, one.partition, one.offset))]
