"""The loop of `sway import`: converts and sends batch by batch, and knows where to resume."""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.columns import ColumnWriter
from schemas.wire import Codec
from sway.errors import CommandError
from sway.files.batches import Batch
from sway.files.rows import RowFile
from sway.load.convert import Converter, DoesNotFitError
from sway.load.encode import Encoded, encode
from sway.load.log_files import LogFile, RowPosition, open_log
from sway.load.mapping import FieldMapping, Sources, resolve
from sway.load.row_by_row import RowByRow
from sway.load.targets import EVENTS, Target, too_large

OnBadRow = Callable[[RowPosition, str], None]
"""Called with (position, problem) for an invalid row; an exception from it ends the import."""


class Sink(Protocol):
    """A destination of records, such as sway.load.sender.Sender."""

    def send_all(
        self, keys: Sequence[bytes], values: Sequence[bytes], times_ms: Sequence[int], mark: Any, /
    ) -> int:
        """Queue records in order and return how many; fewer if the next one is too large."""
        ...


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A log file whose columns match the mapping, with the sources of its fields."""

    file: LogFile
    log: RowFile
    sources: Sources


def check_files(files: Sequence[LogFile], wanted: FieldMapping) -> list[CheckedFile]:
    """Open all files and resolve the mapping of each. Raises CommandError if a file is unreadable or lacks a column."""
    checked = []
    for file in files:
        log = open_log(file)
        checked.append(CheckedFile(file, log, resolve(wanted, file.name, log.columns, complete=log.complete)))
    return checked


class Importer:
    """Reads, converts, encodes and sends batches; the records of a user stay in row order.

    time_unit: the unit of numeric times. use_own_time: use the record's time as the Kafka timestamp, else the current
    time. oldest_ms: a row with an older timestamp ends the import, because Kafka would accept and then delete it.
    next_position: the first row not yet passed to the sender; None at the end. skipped: number of invalid rows.
    """

    def __init__(
        self,
        target: Target,
        codec: Codec[Any],
        *,
        time_unit: str = "ms",
        use_own_time: bool = True,
        oldest_ms: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._target = target
        self._codec = codec
        self._writer = ColumnWriter(target.record_type, codec.prepare_write())
        self._time_field = "occurred_at" if target is EVENTS else "observed_at"
        self._time_unit = time_unit
        self._use_own_time = use_own_time
        self._oldest_ms = oldest_ms
        self._clock = clock
        self.skipped = 0
        self.next_position: RowPosition | None = None

    def first_record(self, checked: CheckedFile) -> Any | str | None:
        """Return the record of the first row, or the problem of that row; None if the file has no rows."""
        row_by_row = self._row_by_row(checked)
        for batch in checked.log.batches(checked.sources.columns_to_read()):
            for line, record in row_by_row.records(batch, self._now_ms()):
                return f"line {line}: {record}" if isinstance(record, str) else record
        return None

    def load(
        self,
        files: Sequence[CheckedFile],
        sender: Sink,
        on_bad_row: OnBadRow,
        on_progress: Callable[[int], None],
        start: RowPosition | None = None,
    ) -> None:
        """Send every row from a position on. on_progress: called with the bytes done.

        Raises CommandError if a file cannot be read, a record is not delivered, or a row is older than oldest_ms.
        Propagates exceptions from on_bad_row, after passing the rows before to the sender.
        """
        done = 0
        reached_start = start is None
        for checked in files:
            name = checked.file.name
            reached_start = reached_start or (start is not None and name == start.name)
            if reached_start:
                first = start.line if start is not None and name == start.name else 1
                self.next_position = RowPosition(name, first)
                for batch, encoded in self._encoded(checked, first):
                    self._send(name, encoded, sender, on_bad_row)
                    on_progress(done + batch.position)
            done += checked.file.path.stat().st_size
            on_progress(done)
        self.next_position = None

    def _encoded(self, checked: CheckedFile, first: int) -> Iterator[tuple[Batch, Encoded]]:
        converter = Converter(self._target.record_type, checked.sources, checked.file.name, self._time_unit)
        row_by_row = self._row_by_row(checked)
        for batch in checked.log.batches(checked.sources.columns_to_read(), first):
            now_ms = self._now_ms()
            try:
                columns = converter.convert(batch, now_ms)
            except DoesNotFitError:
                encoded = row_by_row.encode(batch, now_ms)
            else:
                encoded = encode(self._writer, columns, batch.lines, self._time_field, batch.broken)
            if not self._use_own_time:
                encoded.times_ms = [now_ms] * len(encoded.lines)
            yield batch, encoded

    def _send(self, name: str, encoded: Encoded, sender: Sink, on_bad_row: OnBadRow) -> None:
        at = 0
        too_old = self._first_too_old(encoded)
        for line, problem in encoded.bad:
            end = bisect_left(encoded.lines, line)
            if too_old is not None and too_old < end:
                break
            at = self._send_part(name, encoded, at, end, sender, on_bad_row)
            self._skip(name, line, problem, on_bad_row)
        end = len(encoded.lines) if too_old is None else too_old
        self._send_part(name, encoded, at, end, sender, on_bad_row)
        if too_old is not None:
            raise CommandError(
                f"{self.next_position} is older than the topic's retention: Kafka would delete it. Create a new topic "
                "with `--create`, remove this topic's retention, or use the current time with --now"
            )

    def _send_part(
        self, name: str, encoded: Encoded, at: int, end: int, sender: Sink, on_bad_row: OnBadRow
    ) -> int:
        """Send the records of an index range; report and skip those that are too large for Kafka."""
        while at < end:
            self.next_position = RowPosition(name, encoded.lines[at])
            at += sender.send_all(
                encoded.keys[at:end], encoded.values[at:end], encoded.times_ms[at:end], self.next_position
            )
            if at < end:
                self._skip(name, encoded.lines[at], too_large(encoded.values[at]), on_bad_row)
                at += 1
            else:
                self.next_position = RowPosition(name, encoded.lines[end - 1] + 1)
        return end

    def _skip(self, name: str, line: int, problem: str, on_bad_row: OnBadRow) -> None:
        self.next_position = place = RowPosition(name, line)
        on_bad_row(place, problem)
        self.skipped += 1
        self.next_position = RowPosition(name, line + 1)

    def _first_too_old(self, encoded: Encoded) -> int | None:
        if self._oldest_ms is None or min(encoded.times_ms, default=self._oldest_ms) >= self._oldest_ms:
            return None
        return next(index for index, time_ms in enumerate(encoded.times_ms) if time_ms < self._oldest_ms)

    def _row_by_row(self, checked: CheckedFile) -> RowByRow:
        return RowByRow(self._target, self._codec, checked.sources, checked.file.name, self._time_unit)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
