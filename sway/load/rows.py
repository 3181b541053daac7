"""Conversion of a file's row to a record: column names are field names, and values are never guessed.

- String fields accept text, or an integer (an id in a table).
- Time fields accept milliseconds (or another unit) since 1970-01-01T00:00:00Z, or ISO 8601, which is UTC without an
  offset. Fractions of a millisecond are truncated.
- Number fields accept numbers, or text that is a number.
- attributes accepts a mapping of strings, or such a mapping as JSON text.

A missing value (None or an empty text) takes the field's default.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar

from schemas.records import BehaviorEvent, Outcome
from sway.errors import CommandError, SwayError

R = TypeVar("R", bound=BehaviorEvent | Outcome)

TIME_UNITS = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
"""By unit: the factor, then the divisor, that convert a number to milliseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RowError(SwayError):
    """An invalid row. The message names the field, but never its value, which may be a user's text."""


class RowReader(Generic[R]):
    """Converts rows to records of one type.

    time_unit: the unit of numeric times: s, ms, us or ns. required: the fields without a default.
    """

    def __init__(self, record_type: type[R], *, time_unit: str = "ms") -> None:
        self._type = record_type
        converters = {**_CONVERTERS, int: _time_converter(time_unit)}
        self._convert = {field.name: converters[field.type] for field in fields(record_type)}
        self.required = {field.name for field in fields(record_type) if _is_required(field)}

    def check_columns(self, columns: tuple[str, ...]) -> None:
        """Raise CommandError if these columns have an unknown name or lack a required field."""
        unknown = [column for column in columns if column not in self._convert]
        missing = sorted(self.required - set(columns))
        if unknown or missing:
            problems = [f"no field is named {', '.join(unknown)}"] if unknown else []
            problems += [f"the columns {', '.join(missing)} are missing"] if missing else []
            raise CommandError(
                f"the columns do not match {self._type.__name__}: {'; '.join(problems)}. Its fields are "
                f"{', '.join(self._convert)}; rename or drop the columns in the file"
            )

    def read(self, row: Mapping[str, Any]) -> R:
        """Return the record of a row. Raises RowError with the first invalid field."""
        values = self.convert(row)
        missing = self.required - values.keys()
        if missing:
            raise RowError(f"{', '.join(sorted(missing))} missing")
        return self._type(**values)

    def convert(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the converted values that are present. Raises RowError for an unknown or invalid field."""
        values: dict[str, Any] = {}
        for name, value in row.items():
            if value is None or value == "":
                continue
            if name not in self._convert:
                raise RowError(f"no field of {self._type.__name__} is named {name}")
            convert, wanted = self._convert[name]
            try:
                values[name] = convert(value)
            except (ValueError, TypeError, OverflowError):
                # Not chained: the error contains the value.
                raise RowError(f"{name} is not {wanted}") from None
        return values


def _is_required(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TypeError


def _number(value: object) -> float:
    if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool):
        return float(value)
    raise TypeError


def _time_ms(value: object) -> int:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        raise TypeError
    try:
        return int(value)
    except ValueError:
        moment = datetime.fromisoformat(value)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


def _time_converter(unit: str) -> tuple[Callable[[object], int], str]:
    """Return a converter of times to milliseconds for numbers in this unit, and a description of the input."""
    if unit == "ms":
        return _time_ms, "a time: milliseconds since 1970, or ISO 8601"
    up, down = TIME_UNITS[unit]

    def convert(value: object) -> int:
        number = _as_number(value) if isinstance(value, str) else value
        if isinstance(number, float) and not number.is_integer():
            # Rounded first, because 0.29 * 1000 is below 290 in floating point.
            return math.floor(round(number * up / down, 3))
        return _time_ms(number) if isinstance(number, str) else _time_ms(number) * up // down

    return convert, f"a time: a number of {unit} since 1970, or ISO 8601"


def _as_number(text: str) -> str | int | float:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _attributes(value: object) -> dict[str, str]:
    mapping = json.loads(value) if isinstance(value, str) else value
    if not isinstance(mapping, Mapping):
        raise TypeError
    # A Parquet struct column has every key in every row, with null for absent keys.
    present = {key: text for key, text in mapping.items() if text is not None}
    if not all(isinstance(part, str) for pair in present.items() for part in pair):
        raise TypeError
    return present


_CONVERTERS: dict[Any, tuple[Callable[[object], Any], str]] = {
    str: (_text, "text or an integer"),
    # All integer fields of these records are times.
    int: _time_converter("ms"),
    float: (_number, "a number"),
    float | None: (_number, "a number"),
    dict[str, str]: (_attributes, "a mapping of strings, or one in JSON"),
}
"""By field type: the converter, and a description of accepted values for error messages."""
