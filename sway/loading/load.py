"""The loop from rows to records in a topic."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

from schemas.errors import EncodeError
from schemas.records import BehaviorEvent, Outcome
from schemas.validate import DETAILS, check_event, check_outcome
from sway.errors import CommandError
from sway.loading.files import Row
from sway.loading.pace import Pace
from sway.loading.rows import RowError, RowReader

OnBadRow = Callable[[int, str], None]
"""Called with (line, what is wrong with the row); what it raises ends the load."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is loaded: its record, its check, and which of its fields is its time."""

    record_type: type[Any]
    check: Callable[[Any, int], str | None]
    time_ms: Callable[[Any], int]


EVENTS = Target(BehaviorEvent, check_event, attrgetter("occurred_at"))
OUTCOMES = Target(Outcome, check_outcome, attrgetter("observed_at"))


class Send(Protocol):
    """Takes one record: (key, value, timestamp in ms). Raises RowError if it cannot be sent at all."""

    def __call__(self, key: bytes, value: bytes, timestamp_ms: int, /) -> None: ...


class Loader:
    """Makes records of rows and sends them, keyed by user.

    now_ms: None gives a record its own time; else the time that every record gets.
    oldest_ms: records with an older time end the load: Kafka would take them and delete them.
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
        """Load all rows. Raises CommandError, and what on_bad_row raises."""
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
        record = self._reader.read(row.values)
        now_ms = int(self._clock() * 1000)
        # Kafka refuses a time more than an hour ahead of its own, and so does the worker.
        problem = self._target.check(record, now_ms)
        if problem:
            raise RowError(f"{problem}: {DETAILS[problem]}")
        timestamp_ms = self._target.time_ms(record) if self._use_own_time else now_ms
        if self._oldest_ms is not None and timestamp_ms < self._oldest_ms:
            raise CommandError(
                f"line {row.line} is older than what the topic keeps: Kafka would take it and delete it. Create "
                "the topic with `sway topics create --history`, or give all records the present time with --now"
            )
        try:
            key, value = record.user_id.encode(), self._encode(record)
        except (EncodeError, UnicodeEncodeError):
            # not chained: the error holds the text
            raise RowError("a text holds half of a surrogate pair, which UTF-8 cannot hold") from None
        self._pace.wait()
        self._send(key, value, timestamp_ms)
