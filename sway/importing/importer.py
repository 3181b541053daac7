"""The loop from files to records in a topic, and how far it came."""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.columns import ColumnWriter
from schemas.wire import Codec
from sway.errors import CommandError
from sway.importing.batches import Batch, Log, open_log
from sway.importing.convert import Converter, DoesNotFitError
from sway.importing.encode import Encoded, encode
from sway.importing.files import LogFile, Place
from sway.importing.mapping import Sources, Wanted, resolve
from sway.importing.row_by_row import RowByRow
from sway.loading.load import EVENTS, Target

OnBadRow = Callable[[Place, str], None]
"""Called with where a row stands and what is wrong with it; what it raises ends the import."""


class Sink(Protocol):
    """Takes records: sway.loading.sender.Sender."""

    def send_all(
        self, keys: Sequence[bytes], values: Sequence[bytes], times_ms: Sequence[int], mark: Any, /
    ) -> int:
        """Take records in their order; returns how many, fewer if the next one is too large."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """A file whose columns fit, and what its rows are read from."""

    file: LogFile
    log: Log
    sources: Sources


def check_files(files: Sequence[LogFile], wanted: Wanted) -> list[Checked]:
    """Open every file and look whether its columns fit; nothing is sent before. Raises CommandError."""
    checked = []
    for file in files:
        log = open_log(file)
        checked.append(Checked(file, log, resolve(wanted, file.name, log.columns, complete=log.complete)))
    return checked


class Importer:
    """Reads, converts, encodes and sends, batch by batch; records of one user stay in the order of the rows.

    use_own_time: a record's time in Kafka is its own, else the present.
    oldest_ms: a row with an older time ends the import: Kafka would take it and delete it.
    next_place: the first row that was not given to the sender yet, None at the end.
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
        self.next_place: Place | None = None

    def first_record(self, checked: Checked) -> Any | str | None:
        """Return the first row as a record, or what is wrong with it; None if the file holds no rows."""
        slowly = self._row_by_row(checked)
        for batch in checked.log.batches(checked.sources.wanted()):
            for line, record in slowly.records(batch, self._now_ms()):
                return f"line {line}: {record}" if isinstance(record, str) else record
        return None

    def load(
        self,
        files: Sequence[Checked],
        sender: Sink,
        on_bad_row: OnBadRow,
        on_progress: Callable[[int], None],
        start: Place | None = None,
    ) -> None:
        """Send every row from a place on. on_progress: called with the bytes done.

        Raises CommandError if a file cannot be read on, Kafka does not take something, or a row is too old; and
        what on_bad_row raises, when the rows before are given to the sender.
        """
        done = 0
        going = start is None
        for checked in files:
            name = checked.file.name
            going = going or (start is not None and name == start.name)
            if going:
                first = start.line if start is not None and name == start.name else 1
                self.next_place = Place(name, first)
                for batch, encoded in self._encoded(checked, first):
                    self._send(name, encoded, sender, on_bad_row)
                    on_progress(done + batch.position)
            done += checked.file.path.stat().st_size
            on_progress(done)
        self.next_place = None

    def _encoded(self, checked: Checked, first: int) -> Iterator[tuple[Batch, Encoded]]:
        converter = Converter(self._target.record_type, checked.sources, checked.file.name, self._time_unit)
        slowly = self._row_by_row(checked)
        for batch in checked.log.batches(checked.sources.wanted(), first):
            now_ms = self._now_ms()
            try:
                columns = converter.convert(batch, now_ms)
            except DoesNotFitError:
                encoded = slowly.encode(batch, now_ms)
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
            self._tell(name, line, problem, on_bad_row)
        end = len(encoded.lines) if too_old is None else too_old
        self._send_part(name, encoded, at, end, sender, on_bad_row)
        if too_old is not None:
            raise CommandError(
                f"{self.next_place} is older than what the topic keeps: Kafka would take it and delete it. Let "
                "`--create` make a new topic that keeps everything, take this one's retention away, or give all "
                "records the present time with --now"
            )

    def _send_part(
        self, name: str, encoded: Encoded, at: int, end: int, sender: Sink, on_bad_row: OnBadRow
    ) -> int:
        """Send the records from one index to another; a row that is too large for Kafka is told and left out."""
        while at < end:
            self.next_place = Place(name, encoded.lines[at])
            at += sender.send_all(
                encoded.keys[at:end], encoded.values[at:end], encoded.times_ms[at:end], self.next_place
            )
            if at < end:
                problem = f"{len(encoded.values[at])} bytes are more than Kafka takes"
                self._tell(name, encoded.lines[at], problem, on_bad_row)
                at += 1
            else:
                self.next_place = Place(name, encoded.lines[end - 1] + 1)
        return end

    def _tell(self, name: str, line: int, problem: str, on_bad_row: OnBadRow) -> None:
        self.next_place = place = Place(name, line)
        on_bad_row(place, problem)
        self.skipped += 1
        self.next_place = Place(name, line + 1)

    def _first_too_old(self, encoded: Encoded) -> int | None:
        if self._oldest_ms is None or min(encoded.times_ms, default=self._oldest_ms) >= self._oldest_ms:
            return None
        return next(index for index, time_ms in enumerate(encoded.times_ms) if time_ms < self._oldest_ms)

    def _row_by_row(self, checked: Checked) -> RowByRow:
        return RowByRow(self._target, self._codec, checked.sources, checked.file.name, self._time_unit)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
