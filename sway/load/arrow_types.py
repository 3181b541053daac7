"""The Arrow types that each field may be read from: an allow list, so that no conversion is a guess.

Arrow itself would convert a time of day or a duration to a time since 1970, and a boolean to 1.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from sway.files.batches import Values

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_IDS = (*_TEXTS, pa.types.is_integer, pa.types.is_null)
_NUMBERS = (*_IDS, pa.types.is_floating, pa.types.is_decimal)
_DATETIMES = (pa.types.is_timestamp, pa.types.is_date)

_ACCEPTED: dict[Any, tuple[tuple[Callable[[Any], bool], ...], str]] = {
    str: (_IDS, "strings or integers"),
    # All integer fields are times.
    int: ((*_NUMBERS, *_DATETIMES), "timestamps, dates, numbers or ISO 8601"),
    float: (_NUMBERS, "numbers, or strings that are numbers"),
    float | None: (_NUMBERS, "numbers, or strings that are numbers"),
    dict[str, str]: ((*_TEXTS, pa.types.is_map, pa.types.is_struct, pa.types.is_null), "maps or JSON"),
}
"""By field type: the checks of the accepted Arrow types, and their description."""


def accepts(kind: Any, values: Values) -> bool:
    """Return whether a field of this type may be read from a column; always True for a list of Python values."""
    if not isinstance(values, pa.Array):
        return True
    checks, _ = _ACCEPTED[kind]
    return _is_one_of(checks, values)


def accepted_types(kind: Any) -> str:
    """Return a description of the Arrow types that a field of this type accepts."""
    return _ACCEPTED[kind][1]


def is_text(values: Values) -> bool:
    """Return whether a column is an Arrow array of strings."""
    return _is_one_of(_TEXTS, values)


def is_decimal(values: Values) -> bool:
    """Return whether a column is an Arrow array of decimals."""
    return _is_one_of((pa.types.is_decimal,), values)


def is_datetime(values: Values) -> bool:
    """Return whether a column is an Arrow array of timestamps or dates, which have a unit of their own."""
    return _is_one_of(_DATETIMES, values)


def decoded(values: Values) -> Values:
    """Return the column without dictionary encoding."""
    has_dictionary = isinstance(values, pa.Array) and pa.types.is_dictionary(values.type)
    return values.dictionary_decode() if has_dictionary else values


def _is_one_of(checks: tuple[Callable[[Any], bool], ...], values: Values) -> bool:
    return isinstance(values, pa.Array) and any(check(values.type) for check in checks)
