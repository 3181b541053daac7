"""How many outcomes were read before each event, as its old score tells. Pure but for the stream it is given.

A live score says which outcome of its partition was the next when its text was built (`outcomes_next`). What has no
score of its own had no text, and so no place among the outcomes that could matter: a dead letter.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from schemas.errors import DecodeError
from schemas.records import InfluenceScore
from stream.exactly_once.units.records import SourceRecord

NO_LIMIT = 2**63 - 1


class Stream(Protocol):
    """Records in order; streams.RecordStream is one."""

    position: int

    def head(self) -> SourceRecord | None:
        """Return the next record, None at the end."""
        ...

    def take(self) -> SourceRecord:
        """Take it."""
        ...


class Before(NamedTuple):
    """Which outcomes go before an event: those below limit; if by_time, of these the ones that are not newer."""

    limit: int
    by_time: bool


ALL_BY_TIME = Before(NO_LIMIT, by_time=True)


class _Known(NamedTuple):
    event: int
    outcomes_next: int
    at: int  # the score's own offset


class KnownOrder:
    """Follows the old scores alongside the events; ask for rising offsets.

    scores: the old scores of the partition, or None. decode: a value to its score. events: the topic they must be of.
    position: where the scores must be read from to go on from here.
    """

    def __init__(
        self, scores: Stream | None, decode: Callable[[bytes | None], InfluenceScore], events: str
    ) -> None:
        self._scores = scores
        self._decode = decode
        self._events = events
        self._next: _Known | None = None
        self._some = False  # whether any score was passed: what lies between two has none of its own
        self.position = 0 if scores is None else scores.position
        self._advance(0)

    def before(self, event: SourceRecord) -> Before:
        """Return which outcomes go before an event. Raises RegistryUnavailable, and what the stream raises."""
        if self._next is not None and self._next.event < event.offset:
            self._advance(event.offset)
        known = self._next
        if known is None:
            return ALL_BY_TIME
        if known.event == event.offset:
            return Before(known.outcomes_next, by_time=False)
        return Before(0, by_time=False) if self._some else Before(known.outcomes_next, by_time=True)

    def _advance(self, offset: int) -> None:
        """Go to the first score of an event at or after this offset.

        A topic that holds two runs goes back in the middle: the first that reaches an event tells.
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
