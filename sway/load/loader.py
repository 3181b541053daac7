"""The loop of `sway produce`: converts and sends row by row, at a rate."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sway.errors import CommandError
from sway.files.rows import Row
from sway.load.pace import Pace
from sway.load.rows import RowError, RowReader
from sway.load.targets import Target, encode_record, read_record

OnBadRow = Callable[[int, str], None]
"""Called with (line, problem) for an invalid row; an exception from it ends the load."""


class Send(Protocol):
    """Send one record (key, value, timestamp in ms). Raises RowError if the record can never be sent."""

    def __call__(self, key: bytes, value: bytes, timestamp_ms: int, /) -> None: ...


class Loader:
    """Converts rows to records and sends them, keyed by user.

    use_own_time: use the record's time as the Kafka timestamp, else the current time.
    oldest_ms: a record with an older timestamp ends the load, because Kafka would accept and then delete it.
    sent, skipped: numbers of rows so far.
    """

    def __init__(
        self,
        target: Target,
        encode: Callable[[Any], bytes],
        send: Send,
        *,
        on_bad_row: OnBadRow,
        pace: Pace,
        use_own_time: bool = True,
        oldest_ms: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._target = target
        self._reader = RowReader(target.record_type)
        self._encode = encode
        self._send = send
        self._on_bad_row = on_bad_row
        self._pace = pace
        self._use_own_time = use_own_time
        self._oldest_ms = oldest_ms
        self._clock = clock
        self.sent = 0
        self.skipped = 0

    def load(self, rows: Iterable[Row], on_progress: Callable[[int], None]) -> None:
        """Load all rows. Raises CommandError, and any exception from on_bad_row."""
        for row in rows:
            try:
                self._load(row)
                self.sent += 1
            except RowError as exc:
                self._on_bad_row(row.line, str(exc))
                self.skipped += 1
            on_progress(row.position)

    def _load(self, row: Row) -> None:
        if row.problem:
            raise RowError(row.problem)
        now_ms = int(self._clock() * 1000)
        record = read_record(self._target, self._reader, row.values, now_ms)
        timestamp_ms = self._target.time_ms(record) if self._use_own_time else now_ms
        if self._oldest_ms is not None and timestamp_ms < self._oldest_ms:
            raise CommandError(
                f"line {row.line} is older than the topic's retention: Kafka would delete it. Create the topic with "
                "`sway topics create --history`, or use the current time with --now"
            )
        key, value = encode_record(self._encode, record)
        self._pace.wait()
        self._send(key, value, timestamp_ms)
