"""Derives from old scores how many outcomes were read before each event.

A live score stores which outcome of its partition was next when its text was built (`outcomes_next`). An event without
a score was a dead letter: it had no text, so its position among the outcomes does not matter.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from schemas.errors import DecodeError
from schemas.records import InfluenceScore
from stream.exactly_once.units.records import SourceRecord

NO_LIMIT = 2**63 - 1


class Stream(Protocol):
    """Records in order; implemented by streams.RecordStream."""

    position: int

    def head(self) -> SourceRecord | None:
        """Return the next record, or None at the end."""
        ...

    def take(self) -> SourceRecord:
        """Take the next record."""
        ...


class Before(NamedTuple):
    """Outcomes that precede an event: those below limit; with by_time, only those that are not newer."""

    limit: int
    by_time: bool


ALL_BY_TIME = Before(NO_LIMIT, by_time=True)


class _Known(NamedTuple):
    event: int
    outcomes_next: int
    at: int  # the score's own offset


class KnownOrder:
    """Follows the old scores in step with the events; query it with increasing offsets.

    scores: the partition's old scores, or None. decode: decodes a score. events: topic that the scores must refer to.
    position: offset from which the scores must be read to resume here.
    """

    def __init__(
        self, scores: Stream | None, decode: Callable[[bytes | None], InfluenceScore], events: str
    ) -> None:
        self._scores = scores
        self._decode = decode
        self._events = events
        self._next: _Known | None = None
        self._some = False  # whether a score was passed: events between two scores have none
        self.position = 0 if scores is None else scores.position
        self._advance(0)

    def before(self, event: SourceRecord) -> Before:
        """Return which outcomes precede an event. Raises RegistryUnavailable, and what the stream raises."""
        if self._next is not None and self._next.event < event.offset:
            self._advance(event.offset)
        known = self._next
        if known is None:
            return ALL_BY_TIME
        if known.event == event.offset:
            return Before(known.outcomes_next, by_time=False)
        return Before(0, by_time=False) if self._some else Before(known.outcomes_next, by_time=True)

    def _advance(self, offset: int) -> None:
        """Advance to the first score of an event at or after this offset.

        A topic with two runs jumps back in the middle; the first score that reaches an event is used.
        """
        scores = self._scores
        if scores is None:
            return
        if self._next is not None:
            self._some, self.position = True, self._next.at
        self._next = None
        while (record := scores.head()) is not None:
            scores.take()
            known = self._read(record)
            if known is None:
                continue
            if known.event >= offset:
                self._next = known
                return
            self._some, self.position = True, record.offset

    def _read(self, record: SourceRecord) -> _Known | None:
        try:
            score = self._decode(record.value)
        except DecodeError:
            return None
        source = score.source
        if source.topic != self._events or source.partition != record.partition:
            return None
        return _Known(source.offset, score.outcomes_next, record.offset)
