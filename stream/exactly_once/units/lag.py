"""Computes the consumer lag from the consumer's positions and from offsets listed by the brokers.

A read_committed consumer does not notice two conditions: an open transaction of another producer, because no record
behind the last stable offset counts as lag; and a stalled fetcher, because it no longer learns about new records.
A second client therefore lists the last stable offset and the high watermark of each partition.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stream.exactly_once.units.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Ends:
    """End offsets of a partition. stable: last stable offset. high: high watermark, at least `stable`."""

    stable: int
    high: int


@dataclass(frozen=True, slots=True)
class Lag:
    """The lag of a partition.

    stable_records: offsets between the consumer's position and the last stable offset. records: offsets between the
    position and the high watermark. stable: last stable offset. open_transaction_s: seconds for which a transaction
    has been observed open, a lower bound; 0 if none is open.
    """

    stable_records: int
    records: int
    stable: int
    open_transaction_s: float


class InputLag:
    """Combines the offsets last listed by the brokers with the consumer's positions. Not thread-safe."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._ends: dict[TopicPartition, Ends] = {}
        # The last stable offset, and when it was first seen while a transaction was open.
        self._open: dict[TopicPartition, tuple[int, float]] = {}
        self._updated_at = now()

    @property
    def silent_s(self) -> float:
        """Seconds since the last answer of the brokers, or since the start."""
        return self._now() - self._updated_at

    def update(self, ends: Mapping[TopicPartition, Ends]) -> None:
        """Store the offsets that the brokers listed; a missing partition keeps its last known offsets.

        While a transaction is open, the last stable offset is the offset of its first record and does not move.
        """
        if ends:
            self._updated_at = self._now()
        for tp, latest in ends.items():
            if latest.high <= latest.stable:
                self._open.pop(tp, None)
            elif tp not in self._open or self._open[tp][0] != latest.stable:
                self._open[tp] = (latest.stable, self._now())
        self._ends.update(ends)

    def of(self, fetched: Mapping[TopicPartition, tuple[int, int]]) -> dict[TopicPartition, Lag]:
        """Return the lag by partition. fetched: the consumer's position and its last stable offset."""
        return {tp: self._of(tp, *known) for tp, known in fetched.items()}

    def _of(self, tp: TopicPartition, position: int, stable: int) -> Lag:
        latest = self._ends.get(tp, Ends(stable, stable))
        stable, high = max(stable, latest.stable), max(stable, latest.high)
        since = self._open.get(tp)
        open_s = self._now() - since[1] if since is not None and since[0] == stable else 0.0
        return Lag(max(0, stable - position), max(0, high - position), stable, open_s)
