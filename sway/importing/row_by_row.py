"""A batch row by row: what is wrong with each row that does not fit, and the records of the others.

It says what an import takes, and is as slow as `sway produce`; only batches in which something does not fit, or
that hold what columns cannot be converted at once for, come here.
"""

from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pyarrow as pa

from schemas.errors import EncodeError
from schemas.validate import DETAILS
from schemas.wire import Codec
from sway.importing.arrow_types import decoded, is_decimal, is_moment, takes, what_fits
from sway.importing.batches import Batch, Values
from sway.importing.convert import id_prefix, milliseconds, together
from sway.importing.encode import Encoded
from sway.importing.mapping import Sources
from sway.loading.load import Target
from sway.loading.rows import RowError, RowReader


class RowByRow:
    """Makes records of one file's batches; the arguments are as in sway.importing.convert."""

    def __init__(
        self, target: Target, codec: Codec[Any], sources: Sources, name: str, time_unit: str
    ) -> None:
        self._target = target
        self._codec = codec
        self._sources = sources
        self._id_prefix = id_prefix(name)
        self._types = {field.name: field.type for field in fields(target.record_type)}
        self._reader = RowReader(target.record_type, time_unit=time_unit)
        self._reader_of_moments = RowReader(target.record_type)

    def records(self, batch: Batch, now_ms: int) -> Iterator[tuple[int, Any | str]]:
        """Yield for each row its line, and its record or what is wrong with it."""
        reader = self._reader_of_moments if self._times_are_moments(batch) else self._reader
        unfit = self._unfit(batch)
        for line, row in zip(batch.lines, self._rows(batch), strict=True):
            try:
                _refuse(unfit, row)
                yield line, self._record(reader, line, row, now_ms)
            except RowError as exc:
                yield line, str(exc)

    def encode(self, batch: Batch, now_ms: int) -> Encoded:
        """Return the records that fit, and the rows that do not."""
        encoded = Encoded([], [], [], [], list(batch.broken))
        for line, record in self.records(batch, now_ms):
            if isinstance(record, str):
                encoded.bad.append((line, record))
                continue
            try:
                key, value = record.user_id.encode(), self._codec.encode(record)
            except (EncodeError, UnicodeEncodeError):
                encoded.bad.append((line, "a text holds half of a surrogate pair, which UTF-8 cannot hold"))
                continue
            encoded.add(line, key, value, self._target.time_ms(record))
        encoded.bad.sort()
        return encoded

    def _record(self, reader: RowReader[Any], line: int, row: dict[str, Any], now_ms: int) -> Any:
        if self._sources.makes_ids:
            row["event_id"] = f"{self._id_prefix}{line}"
        record = reader.read(row)
        problem = self._target.check(record, now_ms)
        if problem:
            raise RowError(f"{problem}: {DETAILS[problem]}")
        return record

    def _rows(self, batch: Batch) -> Iterator[dict[str, Any]]:
        columns = {
            field: _plain(batch.columns[name], self._types[field])
            for field, name in self._sources.columns.items()
        }
        names = list(columns)
        attributes = {name: batch.columns[name] for name in self._sources.attributes}
        for index in range(len(batch.lines)):
            row: dict[str, Any] = dict(self._sources.constants)
            row.update((field, columns[field][index]) for field in names)
            if attributes:
                row["attributes"] = _one_together(attributes, index)
            yield row

    def _unfit(self, batch: Batch) -> dict[str, str]:
        """Return by field what is wrong with the column that it is read from."""
        columns = {field: decoded(batch.columns[name]) for field, name in self._sources.columns.items()}
        return {
            field: f"{field} is read from a column of {values.type}: it has to be {what_fits(self._types[field])}"
            for field, values in columns.items()
            if not takes(self._types[field], values)
        }

    def _times_are_moments(self, batch: Batch) -> bool:
        names = (self._sources.columns.get(field) for field in ("occurred_at", "observed_at"))
        return any(name is not None and is_moment(decoded(batch.columns[name])) for name in names)


def _refuse(unfit: dict[str, str], row: dict[str, Any]) -> None:
    for field, problem in unfit.items():
        if row[field] is not None:
            raise RowError(problem)


def _plain(values: Values, kind: Any) -> list[Any]:
    values = decoded(values)
    if not isinstance(values, pa.Array):
        return list(values)
    if not takes(kind, values):  # not all of Arrow's values are Python's, too
        return [() if there else None for there in values.is_valid().to_pylist()]
    values = milliseconds(values) if is_moment(values) else values
    plain = list(values.to_pylist(maps_as_pydicts="strict"))
    return [_whole(value) for value in plain] if kind is int and is_decimal(values) else plain


def _whole(number: Decimal | None) -> Decimal | int | None:
    """Return a number as it counts, if it is whole; else itself, which is no time."""
    return int(number) if number is not None and number == int(number) else number


def _one_together(columns: dict[str, Values], index: int) -> Any:
    try:
        return together({name: values[index : index + 1] for name, values in columns.items()})[0]
    except ValueError:
        return ()  # no mapping: the reader says so
