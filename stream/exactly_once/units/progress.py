"""Progress of a state recovery, for the stall watchdog, the probes and the log."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass

from stream.exactly_once.units.records import TopicPartition

logger = logging.getLogger(__name__)

_LOG_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class Restored:
    """Progress of a partition over all its changelogs.

    records: records read so far. to_go: offsets left up to the ends; an upper bound for the records left, because
    compacted records and transaction markers also occupy offsets.
    """

    records: int
    to_go: int

    def __str__(self) -> str:
        return f"{self.records:,} records read, at most {self.to_go:,} to go"


class RecoveryProgress:
    """The progress of one recovery. Written by the recovery thread; readable from any thread."""

    def __init__(
        self, on_progress: Callable[[], None] = lambda: None, now: Callable[[], float] = time.monotonic
    ) -> None:
        """on_progress: called on the recovery thread each time a changelog position advances."""
        self.partitions: Mapping[int, Restored] = {}
        """Progress by partition; empty until the changelogs are read. Replaced as a whole, never modified."""
        self._on_progress = on_progress
        self._now = now
        self._logged_at = now()
        self._ends: Mapping[TopicPartition, int] = {}
        self._to_go: dict[TopicPartition, int] = {}
        self._records: Counter[int] = Counter()

    def begin(self, reached: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        """Set the start and end offset of each changelog; called again when the end offsets are refreshed."""
        self._ends = dict(ends)
        self._to_go = {tp: max(0, end - reached[tp]) for tp, end in ends.items()}
        self._show()

    def advance(self, records: Mapping[int, Sized], reached: Mapping[TopicPartition, int]) -> None:
        """Add the result of one poll: the records by partition and the next offset of each changelog.

        Only an offset closer to the end than any before counts as progress.
        """
        nearer = {
            tp: to_go
            for tp, offset in reached.items()
            if (to_go := max(0, self._ends[tp] - offset)) < self._to_go[tp]
        }
        self._to_go |= nearer
        self._records.update({partition: len(found) for partition, found in records.items()})
        self._show()
        if nearer:
            self._on_progress()
        if self._now() - self._logged_at >= _LOG_INTERVAL_S:
            self._logged_at = self._now()
            logger.info("Recovering: %s", self)

    @property
    def records(self) -> int:
        """Number of records read so far."""
        return self._records.total()

    def _show(self) -> None:
        to_go: Counter[int] = Counter()
        for tp, offsets in self._to_go.items():
            to_go[tp.partition] += offsets
        self.partitions = {number: Restored(self._records[number], to_go[number]) for number in sorted(to_go)}

    def __str__(self) -> str:
        """Return one line: the totals, then each partition that has not reached its end."""
        partitions = self.partitions
        total = Restored(
            sum(one.records for one in partitions.values()), sum(one.to_go for one in partitions.values())
        )
        left = "; ".join(f"partition {number}: {one}" for number, one in partitions.items() if one.to_go)
        return f"{total} ({left})" if left else str(total)
