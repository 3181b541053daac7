"""An in-memory replacement for stream.replay.streams.RecordStream."""

from collections.abc import Sequence

from stream.replay.plan import Span
from stream.replay.streams import Record


class MemoryStream:
    """The records of a span. As in RecordStream, the position is the span's end once no record is left."""

    def __init__(self, records: Sequence[Record], span: Span) -> None:
        self.position = span.start
        self._end = span.end
        self._left = [record for record in records if span.start <= record.offset < span.end]
        self._left.reverse()

    def head(self) -> Record | None:
        """Return the next record without consuming it; None at the end."""
        if not self._left:
            self.position = max(self.position, self._end)
            return None
        return self._left[-1]

    def take(self) -> Record:
        """Consume and return the next record."""
        record = self._left.pop()
        self.position = record.offset + 1
        return record

    def close(self) -> None:
        """Do nothing: there is no connection to close."""
