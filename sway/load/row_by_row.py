"""The slow path of an import: convert a batch row by row.

It defines which rows an import accepts, and is as slow as `sway produce`. It handles the batches that
sway.load.convert cannot: those with invalid rows, or with values that need a check of their own.
"""

from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pyarrow as pa

from schemas.wire import Codec
from sway.files.batches import Batch, Values
from sway.load.arrow_types import accepted_types, accepts, decoded, is_datetime, is_decimal
from sway.load.convert import id_prefix, merge_columns, milliseconds
from sway.load.encode import Encoded
from sway.load.mapping import Sources
from sway.load.rows import RowError, RowReader
from sway.load.targets import Target, encode_record, read_record


class RowByRow:
    """Converts the batches of one file; the arguments are those of sway.load.convert.Converter."""

    def __init__(
        self, target: Target, codec: Codec[Any], sources: Sources, name: str, time_unit: str
    ) -> None:
        self._target = target
        self._codec = codec
        self._sources = sources
        self._id_prefix = id_prefix(name)
        self._types = {field.name: field.type for field in fields(target.record_type)}
        self._reader = RowReader(target.record_type, time_unit=time_unit)
        self._millisecond_reader = RowReader(target.record_type)

    def records(self, batch: Batch, now_ms: int) -> Iterator[tuple[int, Any | str]]:
        """Yield for each row its line, and its record or its problem."""
        reader = self._millisecond_reader if self._has_datetimes(batch) else self._reader
        type_problems = self._type_problems(batch)
        for line, row in zip(batch.lines, self._rows(batch), strict=True):
            try:
                _check_types(type_problems, row)
                yield line, self._record(reader, line, row, now_ms)
            except RowError as exc:
                yield line, str(exc)

    def encode(self, batch: Batch, now_ms: int) -> Encoded:
        """Encode the valid rows, and collect the problems of the invalid ones."""
        encoded = Encoded([], [], [], [], list(batch.broken))
        for line, record in self.records(batch, now_ms):
            if isinstance(record, str):
                encoded.bad.append((line, record))
                continue
            try:
                key, value = encode_record(self._codec.encode, record)
            except RowError as exc:
                encoded.bad.append((line, str(exc)))
                continue
            encoded.add(line, key, value, self._target.time_ms(record))
        encoded.bad.sort()
        return encoded

    def _record(self, reader: RowReader[Any], line: int, row: dict[str, Any], now_ms: int) -> Any:
        if self._sources.makes_ids:
            row["event_id"] = f"{self._id_prefix}{line}"
        return read_record(self._target, reader, row, now_ms)

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
                row["attributes"] = _merge_row(attributes, index)
            yield row

    def _type_problems(self, batch: Batch) -> dict[str, str]:
        """Return by field the problem of its column's type."""
        columns = {field: decoded(batch.columns[name]) for field, name in self._sources.columns.items()}
        return {
            field: f"{field} is read from a column of {values.type}: it must be {accepted_types(self._types[field])}"
            for field, values in columns.items()
            if not accepts(self._types[field], values)
        }

    def _has_datetimes(self, batch: Batch) -> bool:
        names = (self._sources.columns.get(field) for field in ("occurred_at", "observed_at"))
        return any(name is not None and is_datetime(decoded(batch.columns[name])) for name in names)


def _check_types(type_problems: dict[str, str], row: dict[str, Any]) -> None:
    for field, problem in type_problems.items():
        if row[field] is not None:
            raise RowError(problem)


def _plain(values: Values, kind: Any) -> list[Any]:
    values = decoded(values)
    if not isinstance(values, pa.Array):
        return list(values)
    # Not every Arrow value converts to a Python value.
    if not accepts(kind, values):
        return [() if valid else None for valid in values.is_valid().to_pylist()]
    values = milliseconds(values) if is_datetime(values) else values
    plain = list(values.to_pylist(maps_as_pydicts="strict"))
    return [_whole(value) for value in plain] if kind is int and is_decimal(values) else plain


def _whole(number: Decimal | None) -> Decimal | int | None:
    """Return an integral number as int; any other unchanged, which is not a valid time."""
    return int(number) if number is not None and number == int(number) else number


def _merge_row(columns: dict[str, Values], index: int) -> Any:
    try:
        return merge_columns({name: values[index : index + 1] for name, values in columns.items()})[0]
    except ValueError:
        # The reader reports it, because it is not a mapping.
        return ()
