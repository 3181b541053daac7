"""What `sway produce` and `sway import` have in common on the command line."""

from enum import StrEnum

from stream.settings import TopicSettings
from sway.load.targets import EVENTS, OUTCOMES, Target


class RecordKind(StrEnum):
    """The record type of the rows."""

    EVENTS = "events"
    OUTCOMES = "outcomes"

    @property
    def target(self) -> Target:
        """The record type to load."""
        return EVENTS if self is RecordKind.EVENTS else OUTCOMES

    def topic(self, topics: TopicSettings) -> str:
        """Return the configured topic of these records."""
        return topics.events if self is RecordKind.EVENTS else topics.outcomes


class OnError(StrEnum):
    """What to do at an invalid row."""

    STOP = "stop"
    SKIP = "skip"


def oldest_ms(now_ms: int, keeps_ms: int | None, *, use_own_time: bool) -> int | None:
    """Return the oldest timestamp that a topic does not delete at once; None if there is no such limit.

    keeps_ms: the retention of the topic. use_own_time: whether the timestamp is the record's time.
    """
    return now_ms - keeps_ms if use_own_time and keeps_ms is not None else None
