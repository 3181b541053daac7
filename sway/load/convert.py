"""The fast path of an import: convert a batch in Arrow, if every row is valid.

It accepts only input for which sway.load.row_by_row returns the same records. Any ambiguous value raises
DoesNotFitError.
"""

from dataclasses import fields
from hashlib import blake2b
from typing import Any

import pyarrow as pa
from pyarrow import compute

from schemas.columns import Column
from schemas.records import BehaviorEvent
from schemas.validate import DEFAULT_LIMITS
from sway.files.batches import Batch, Values
from sway.load.arrow_types import accepts, decoded, is_datetime, is_decimal, is_text
from sway.load.mapping import Sources
from sway.load.rows import TIME_UNITS, RowError, RowReader

# The stubs of pyarrow.compute reject Python scalars, which the functions accept.
pc: Any = compute


class DoesNotFitError(Exception):
    """The batch contains an invalid row, or a value that must be checked row by row."""


class Converter:
    """Converts the batches of one file.

    name: the file's name, for derived ids. time_unit: the unit of numeric times, a key of TIME_UNITS.
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
        """Return one column per field, in field order (schemas.columns), for records that a worker would accept.

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
            return _DEFAULTS[kind]
        values = _arrow(batch.columns[self._sources.columns[name]])
        _require(accepts(kind, values))
        if kind is str:
            return values.cast(pa.string()).fill_null("")
        column = _times(values, self._time_unit) if kind is int else _numbers(values)
        _require(not (name in self._required and column.null_count))
        return column

    def _attributes(self, batch: Batch) -> Column:
        if self._sources.attributes:
            named = {name: batch.columns[name] for name in self._sources.attributes}
            return merge_columns(named)
        if "attributes" not in self._sources.columns:
            return {}
        values = decoded(batch.columns[self._sources.columns["attributes"]])
        _require(accepts(dict[str, str], values))
        if isinstance(values, pa.Array):
            values = values.to_pylist(maps_as_pydicts="strict")
        read = RowReader(BehaviorEvent)
        return [read.convert({"attributes": value}).get("attributes", {}) for value in values]

    def _check(self, columns: dict[str, Column], now_ms: int) -> None:
        """Apply the checks of schemas.validate, and check that required fields are not empty."""
        for name, column in columns.items():
            if name in {"event_id", "user_id"}:
                _require(_all(pc.greater(pc.binary_length(pc.utf8_trim_whitespace(column)), 0)))
            elif name == "action":
                _require(_all(pc.greater(pc.binary_length(column), 0)))
            if name in {"event_id", "user_id", "item_id"}:
                _require(_all(pc.less_equal(pc.binary_length(column), DEFAULT_LIMITS.max_id_bytes)))
            elif name in {"y", "z"}:
                _require(_all(pc.and_(pc.greater_equal(column, 0.0), pc.less_equal(column, 1.0))))
            elif name == "value":
                _require(_all(pc.is_finite(column)))
            elif name in {"occurred_at", "observed_at"}:
                newest = now_ms + DEFAULT_LIMITS.max_ahead_ms
                _require(_all(pc.and_(pc.greater_equal(column, 0), pc.less_equal(column, newest))))


def id_prefix(name: str) -> str:
    """Return the prefix of derived event ids; the line number follows it."""
    return f"{blake2b(name.encode(errors='surrogatepass'), digest_size=8).hexdigest()}-"


def merge_columns(columns: dict[str, Values]) -> list[dict[str, str]]:
    """Return for each row a mapping from column name to value, as strings, without missing values.

    Raises ValueError if a value is not a string, number or boolean.
    """
    texts = [_as_texts(values) for values in columns.values()]
    names = list(columns)
    return [
        {name: text for name, text in zip(names, row, strict=True) if text}
        for row in zip(*texts, strict=True)
    ]


def milliseconds(times: Values) -> Any:
    """Convert Arrow timestamps or dates to milliseconds since 1970, int64; fractions are truncated."""
    if pa.types.is_timestamp(times.type):
        # Removing the time zone keeps the instant.
        naive = times.cast(pa.timestamp(times.type.unit))
        # A cast alone would round up before 1970.
        times = pc.floor_temporal(naive, unit="millisecond")
    return times.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())


def _arrow(values: Values) -> Any:
    if isinstance(values, pa.Array):
        return decoded(values)
    array: Any = pa.array(values)
    # Arrow converts a boolean among floats to 1.0.
    _require(not pa.types.is_floating(array.type) or bool not in set(map(type, values)))
    return array


def _numbers(values: Any) -> Any:
    if is_decimal(values):
        # Through a string, because a direct cast does not always give the nearest float.
        values = values.cast(pa.string())
    elif is_text(values):
        values = _missing_to_null(values)
    return values.cast(pa.float64())


def _times(values: Any, unit: str) -> Any:
    if is_datetime(values):
        return milliseconds(values)
    if is_text(values):
        values = _missing_to_null(values)
        # Arrow would parse 0x10 as a number.
        if not _all(pc.ascii_is_decimal(values)):
            return _iso_times(values)
    counted = values.cast(pa.int64())
    # Arrow's division rounds negative numbers up.
    _require(_all(pc.greater_equal(counted, 0)))
    up, down = TIME_UNITS[unit]
    return pc.divide(pc.multiply_checked(counted, up), down)


def _iso_times(texts: Any) -> Any:
    try:
        times = texts.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        times = texts.cast(pa.timestamp("us", "UTC"))
    return _times(times, "ms")


def _as_texts(values: Values) -> list[str | None]:
    if isinstance(values, pa.Array):
        array = decoded(values)
        values = (array.cast(pa.string()) if is_datetime(array) else array).to_pylist()
    return [value if type(value) is str else _as_text(value) for value in values]


def _as_text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("not a string, number or boolean")


def _missing_to_null(texts: Any) -> Any:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)


def _all(truths: Any) -> bool:
    """Return whether no value is false; a null is not false."""
    found = truths if isinstance(truths, pa.Scalar) else pc.all(truths, min_count=0)
    return found.as_py() is not False


def _require(truth: bool) -> None:
    if not truth:
        raise ValueError


_DEFAULTS: dict[Any, Column] = {str: pa.scalar(""), float | None: pa.scalar(None, pa.float64())}
"""By type of an optional field: its column when there is no source."""
