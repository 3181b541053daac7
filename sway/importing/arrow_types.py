"""Which of Arrow's types a field may be read from: a list of what is taken, so that nothing else is guessed at.

Arrow itself would count a time of day or a duration as a time since 1970, and a truth value as 1. Pure.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from sway.importing.batches import Values

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_IDS = (*_TEXTS, pa.types.is_integer, pa.types.is_null)
_NUMBERS = (*_IDS, pa.types.is_floating, pa.types.is_decimal)
_MOMENTS = (pa.types.is_timestamp, pa.types.is_date)

_TAKEN: dict[Any, tuple[tuple[Callable[[Any], bool], ...], str]] = {
    str: (_IDS, "texts or whole numbers"),
    int: ((*_NUMBERS, *_MOMENTS), "timestamps, dates, numbers or ISO 8601"),  # whole numbers are times
    float: (_NUMBERS, "numbers, or texts that are one"),
    float | None: (_NUMBERS, "numbers, or texts that are one"),
    dict[str, str]: ((*_TEXTS, pa.types.is_map, pa.types.is_struct, pa.types.is_null), "maps or JSON"),
}
"""By the type of a field: the types it may be read from, and what they are in words."""


def takes(kind: Any, values: Values) -> bool:
    """Whether a field of this type may be read from such a column; of a list each value has to tell."""
    if not isinstance(values, pa.Array):
        return True
    checks, _ = _TAKEN[kind]
    return _is_one_of(checks, values)


def what_fits(kind: Any) -> str:
    """Return in words what a field of this type may be read from."""
    return _TAKEN[kind][1]


def is_text(values: Values) -> bool:
    """Whether a column is an array of texts."""
    return _is_one_of(_TEXTS, values)


def is_decimal(values: Values) -> bool:
    """Whether a column is an array of decimals."""
    return _is_one_of((pa.types.is_decimal,), values)


def is_moment(values: Values) -> bool:
    """Whether a column is an array of Arrow's own times, whose unit is known."""
    return _is_one_of(_MOMENTS, values)


def decoded(values: Values) -> Values:
    """Return a column with its values in it, where it had a dictionary of them."""
    has_dictionary = isinstance(values, pa.Array) and pa.types.is_dictionary(values.type)
    return values.dictionary_decode() if has_dictionary else values


def _is_one_of(checks: tuple[Callable[[Any], bool], ...], values: Values) -> bool:
    return isinstance(values, pa.Array) and any(is_such(values.type) for is_such in checks)
