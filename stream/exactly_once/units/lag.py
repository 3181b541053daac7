"""How far reading is behind the inputs, by what the consumer has fetched and by what the brokers say. Pure.

A consumer that reads committed records alone cannot see two things: a transaction of another producer that stays
open, since all behind it is not stable and counts for nothing; and its own fetcher that has stopped, since nobody
tells it of newer records then. So the brokers are asked for both ends of each partition by another client.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stream.exactly_once.units.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Ends:
    """Of a partition. stable: the last stable offset. high: the high watermark, at or past it."""

    stable: int
    high: int


@dataclass(frozen=True, slots=True)
class Lag:
    """Of a partition.

    stable_records: offsets that are stable and not fetched yet. records: the same up to the high watermark.
    stable: the last stable offset. open_transaction_s: for how long a transaction has been seen open there, at least;
    0 if there is none.
    """

    stable_records: int
    records: int
    stable: int
    open_transaction_s: float


class InputLag:
    """Puts together what the brokers said last and what the consumer knows. For one thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._ends: dict[TopicPartition, Ends] = {}
        self._open: dict[
            TopicPartition, tuple[int, float]
        ] = {}  # the stable offset, and when it was first seen there
        self._noted_at = now()

    @property
    def silent_s(self) -> float:
        """Seconds since the brokers last said anything, or since the start."""
        return self._now() - self._noted_at

    def note(self, ends: Mapping[TopicPartition, Ends]) -> None:
        """Take in what the brokers say now; of a partition that is missing the last word stands.

        While a transaction is open, the stable offset is that of its first record: it does not move.
        """
        if ends:
            self._noted_at = self._now()
        for tp, said in ends.items():
            if said.high <= said.stable:
                self._open.pop(tp, None)
            elif tp not in self._open or self._open[tp][0] != said.stable:
                self._open[tp] = (said.stable, self._now())
        self._ends.update(ends)

    def of(self, fetched: Mapping[TopicPartition, tuple[int, int]]) -> dict[TopicPartition, Lag]:
        """Return the lag of partitions. fetched: the position, and the last stable offset as the consumer knows it."""
        return {tp: self._of(tp, *known) for tp, known in fetched.items()}

    def _of(self, tp: TopicPartition, position: int, stable: int) -> Lag:
        said = self._ends.get(tp, Ends(stable, stable))
        stable, high = max(stable, said.stable), max(stable, said.high)
        since = self._open.get(tp)
        open_s = self._now() - since[1] if since is not None and since[0] == stable else 0.0
        return Lag(max(0, stable - position), max(0, high - position), stable, open_s)
