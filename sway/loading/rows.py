"""One row of a file as a record: names are the record's fields, values are converted, never guessed.

Strings: text, or a whole number (an id in a table). Times: milliseconds since 1970-01-01T00:00:00Z (or what
else is counted), or ISO 8601, UTC where it names no offset; what is finer than a millisecond is cut. Numbers:
numbers, or text that is one. attributes: a mapping of strings, or text that is such a mapping in JSON. A value
that is missing (None, or an empty text) takes the field's default. Pure.
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
"""By unit: what a number is multiplied with, then divided by, to be milliseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RowError(SwayError):
    """A row that does not fit; the message names the field, never its value: it may be a user's text."""


class RowReader(Generic[R]):
    """Makes records of one type from rows.

    time_unit: what a time that is a number counts: s, ms, us or ns. required: fields without a default.
    """

    def __init__(self, record_type: type[R], *, time_unit: str = "ms") -> None:
        self._type = record_type
        converters = {**_CONVERTERS, int: _time_converter(time_unit)}
        self._convert = {field.name: converters[field.type] for field in fields(record_type)}
        self.required = {field.name for field in fields(record_type) if _is_required(field)}

    def check_columns(self, columns: tuple[str, ...]) -> None:
        """Raise CommandError if a file with these columns cannot hold such records."""
        unknown = [column for column in columns if column not in self._convert]
        missing = sorted(self.required - set(columns))
        if unknown or missing:
            told = [f"no field is called {', '.join(unknown)}"] if unknown else []
            told += [f"the columns {', '.join(missing)} are missing"] if missing else []
            raise CommandError(
                f"the columns do not fit {self._type.__name__}: {'; '.join(told)}. Its fields are "
                f"{', '.join(self._convert)}; rename or drop the columns in the file"
            )

    def read(self, row: Mapping[str, Any]) -> R:
        """Return the record of a row. Raises RowError naming the first field that does not fit."""
        values = self.convert(row)
        missing = self.required - values.keys()
        if missing:
            raise RowError(f"{', '.join(sorted(missing))} missing")
        return self._type(**values)

    def convert(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that are there, converted. Raises RowError as read does, but of nothing missing."""
        values: dict[str, Any] = {}
        for name, value in row.items():
            if value is None or value == "":
                continue
            if name not in self._convert:
                raise RowError(f"no field of {self._type.__name__} is called {name}")
            convert, wanted = self._convert[name]
            try:
                values[name] = convert(value)
            except (ValueError, TypeError, OverflowError):
                # not chained: the error holds the value
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
    """Return how a time becomes milliseconds where numbers count another unit, and what is wanted."""
    if unit == "ms":
        return _time_ms, "a time: milliseconds since 1970, or ISO 8601"
    up, down = TIME_UNITS[unit]

    def convert(value: object) -> int:
        number = _as_number(value) if isinstance(value, str) else value
        if isinstance(number, float) and not number.is_integer():
            return math.floor(round(number * up / down, 3))  # the third digit: 0.29 * 1000 is below 290
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
    # A struct column of a Parquet file has every key in every row, with nulls where a row has none.
    present = {key: text for key, text in mapping.items() if text is not None}
    if not all(isinstance(part, str) for pair in present.items() for part in pair):
        raise TypeError
    return present


_CONVERTERS: dict[Any, tuple[Callable[[object], Any], str]] = {
    str: (_text, "text or a whole number"),
    # The only whole numbers of these records are times.
    int: _time_converter("ms"),
    float: (_number, "a number"),
    float | None: (_number, "a number"),
    dict[str, str]: (_attributes, "a mapping of strings, or one in JSON"),
}
"""By the type of a record's field: how a value is converted, and what is wanted if it cannot be."""
