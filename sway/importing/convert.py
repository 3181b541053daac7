"""A batch as columns of the record's own types, if everything in it fits: whole columns, in Arrow.

It takes only what row by row gives the same record (sway.importing.row_by_row): anything that is doubtful does not
fit here. Pure.
"""

from dataclasses import fields
from hashlib import blake2b
from typing import Any

import pyarrow as pa
from pyarrow import compute

from schemas.columns import Column
from schemas.records import BehaviorEvent
from schemas.validate import DEFAULT_LIMITS
from sway.importing.arrow_types import decoded, is_decimal, is_moment, is_text, takes
from sway.importing.batches import Batch, Values
from sway.importing.mapping import Sources
from sway.loading.rows import TIME_UNITS, RowError, RowReader

pc: Any = compute  # its stubs refuse plain values, which it takes


class DoesNotFitError(Exception):
    """Something in the batch does not fit, or only row by row can tell."""


class Converter:
    """Makes columns of one file's batches.

    name: the file's, for ids. time_unit: what a time that is a number counts.
    """

    def __init__(self, record_type: type[Any], sources: Sources, name: str, time_unit: str) -> None:
        self._type = record_type
        self._sources = sources
        self._time_unit = time_unit
        self._id_prefix = id_prefix(name)
        self._required = RowReader(record_type).required
        constants = RowReader(record_type, time_unit=time_unit).convert(sources.constants)
        self._constants = {
            name: value if isinstance(value, dict) else pa.scalar(value) for name, value in constants.items()
        }

    def convert(self, batch: Batch, now_ms: int) -> dict[str, Column]:
        """Return a column for each field, in their order (schemas.columns), of records that a worker would take.

        Raises DoesNotFitError.
        """
        try:
            columns = {
                field.name: self._column(field.name, field.type, batch) for field in fields(self._type)
            }
            self._check(columns, now_ms)
        except (pa.ArrowException, ValueError, TypeError, OverflowError, RowError) as exc:
            raise DoesNotFitError from exc
        return columns

    def _column(self, name: str, kind: Any, batch: Batch) -> Column:
        if name in self._constants:
            return self._constants[name]
        if name == "attributes":
            return self._attributes(batch)
        if name == "event_id" and self._sources.makes_ids:
            lines = pa.array(batch.lines, pa.int64()).cast(pa.string())
            return pc.binary_join_element_wise(self._id_prefix, lines, "")
        if name not in self._sources.columns:
            return _NOTHING[kind]
        values = _arrow(batch.columns[self._sources.columns[name]])
        _need(takes(kind, values))
        if kind is str:
            return values.cast(pa.string()).fill_null("")
        column = _times(values, self._time_unit) if kind is int else _numbers(values)
        _need(not (name in self._required and column.null_count))
        return column

    def _attributes(self, batch: Batch) -> Column:
        if self._sources.attributes:
            named = {name: batch.columns[name] for name in self._sources.attributes}
            return together(named)
        if "attributes" not in self._sources.columns:
            return {}
        values = decoded(batch.columns[self._sources.columns["attributes"]])
        _need(takes(dict[str, str], values))
        if isinstance(values, pa.Array):
            values = values.to_pylist(maps_as_pydicts="strict")
        read = RowReader(BehaviorEvent)
        return [read.convert({"attributes": value}).get("attributes", {}) for value in values]

    def _check(self, columns: dict[str, Column], now_ms: int) -> None:
        """What schemas.validate checks, and that nothing that is required is empty."""
        for name, column in columns.items():
            if name in {"event_id", "user_id"}:
                _need(_all(pc.greater(pc.binary_length(pc.utf8_trim_whitespace(column)), 0)))
            elif name == "action":
                _need(_all(pc.greater(pc.binary_length(column), 0)))
            if name in {"event_id", "user_id", "item_id"}:
                _need(_all(pc.less_equal(pc.binary_length(column), DEFAULT_LIMITS.max_id_bytes)))
            elif name in {"y", "z"}:
                _need(_all(pc.and_(pc.greater_equal(column, 0.0), pc.less_equal(column, 1.0))))
            elif name == "value":
                _need(_all(pc.is_finite(column)))
            elif name in {"occurred_at", "observed_at"}:
                newest = now_ms + DEFAULT_LIMITS.max_ahead_ms
                _need(_all(pc.and_(pc.greater_equal(column, 0), pc.less_equal(column, newest))))


def id_prefix(name: str) -> str:
    """Return what an id that is made starts with; the line follows."""
    return f"{blake2b(name.encode(errors='surrogatepass'), digest_size=8).hexdigest()}-"


def together(columns: dict[str, Values]) -> list[dict[str, str]]:
    """Return for each row the values of these columns by their names, as texts; without those that are missing.

    Raises ValueError if a value is neither a text, a number nor a truth value.
    """
    texts = [_as_texts(values) for values in columns.values()]
    names = list(columns)
    return [
        {name: text for name, text in zip(names, row, strict=True) if text}
        for row in zip(*texts, strict=True)
    ]


def milliseconds(moments: Values) -> Any:
    """Return Arrow's own times as int64, milliseconds since 1970; what is finer is cut."""
    if pa.types.is_timestamp(moments.type):
        naive = moments.cast(pa.timestamp(moments.type.unit))  # the instant stays: only the zone goes
        moments = pc.floor_temporal(naive, unit="millisecond")  # a cast alone would round up below 1970
    return moments.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())


def _arrow(values: Values) -> Any:
    if isinstance(values, pa.Array):
        return decoded(values)
    array: Any = pa.array(values)
    # among floats Arrow makes 1.0 of a truth value
    _need(not pa.types.is_floating(array.type) or bool not in set(map(type, values)))
    return array


def _numbers(values: Any) -> Any:
    if is_decimal(values):
        values = values.cast(pa.string())  # from a text the nearest float is found; a cast misses it
    elif is_text(values):
        values = _missing_to_null(values)
    return values.cast(pa.float64())


def _times(values: Any, unit: str) -> Any:
    if is_moment(values):
        return milliseconds(values)
    if is_text(values):
        values = _missing_to_null(values)
        if not _all(pc.ascii_is_decimal(values)):  # Arrow would read 0x10 as a number
            return _iso_times(values)
    counted = values.cast(pa.int64())
    _need(_all(pc.greater_equal(counted, 0)))  # below 0, Arrow's division rounds up
    up, down = TIME_UNITS[unit]
    return pc.divide(pc.multiply_checked(counted, up), down)


def _iso_times(texts: Any) -> Any:
    try:
        moments = texts.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        moments = texts.cast(pa.timestamp("us", "UTC"))
    return _times(moments, "ms")


def _as_texts(values: Values) -> list[str | None]:
    if isinstance(values, pa.Array):
        array = decoded(values)
        values = (array.cast(pa.string()) if is_moment(array) else array).to_pylist()
    return [value if type(value) is str else _as_text(value) for value in values]


def _as_text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("no text, number or truth value")


def _missing_to_null(texts: Any) -> Any:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)


def _all(truths: Any) -> bool:
    """Whether none is false; a null is none."""
    found = truths if isinstance(truths, pa.Scalar) else pc.all(truths, min_count=0)
    return found.as_py() is not False


def _need(truth: bool) -> None:
    if not truth:
        raise ValueError


_NOTHING: dict[Any, Column] = {str: pa.scalar(""), float | None: pa.scalar(None, pa.float64())}
"""By the type of a field that may be missing: the column when it is."""
