"""Tables of training knobs: frozen dataclasses whose types and bounds pydantic checks."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform, get_args, get_type_hints

from pydantic import (
    ConfigDict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from trainer.errors import TrainingRefused

T = TypeVar("T")

_CONFIG = ConfigDict(strict=True, extra="forbid")
_UNKNOWN = "unexpected_keyword_argument"
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def _as_given(value: float, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> float:
    checked: float = check(value)
    # A version id is a hash of the JSON text, in which 1 and 1.0 differ.
    return value if info.mode == "python" else checked


Number = Annotated[float, WrapValidator(_as_given)]
"""A float. A whole number becomes one if it comes from a file, and stays an int if it is given in code."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def table(name: str = "") -> Callable[[type[T]], type[T]]:
    """Return a decorator that makes a class a table of knobs, whose constructor raises TrainingRefused.

    name: of the table in a file of knobs; empty for the file itself.
    """

    def decorate(kind: type[T]) -> type[T]:
        made: Any = dataclass(kind, frozen=True, slots=True, config=_CONFIG)
        construct = made.__init__

        @wraps(construct)
        def init(self: T, *args: Any, **values: Any) -> None:
            try:
                construct(self, *args, **values)
            except ValidationError as exc:
                raise TrainingRefused(_refusal(made, exc, name)) from exc

        made.__init__ = init
        checked: type[T] = made
        return checked

    return decorate


def read(kind: type[T], plain: Mapping[str, Any]) -> T:
    """Return a table from JSON-compatible values or a TOML table. Missing knobs take their defaults.

    Raises TrainingRefused for a knob that is unknown, of the wrong type, or out of bounds.
    """
    # Strict types, but an object for a table and a string for a member of an enum, as pydantic reads JSON. No knob is a
    # list, so a date of TOML is refused.
    text = json.dumps(plain, default=lambda value: [str(value)])
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as exc:
        raise TrainingRefused(_refusal(kind, exc)) from exc


def _refusal(kind: type, refused: ValidationError, name: str = "") -> str:
    """Return a message with the knob, its value and what is allowed, for one error; an unknown knob comes first."""
    error = min(refused.errors(include_url=False), key=lambda one: one["type"] != _UNKNOWN)
    *tables, knob = (str(part) for part in error["loc"])
    path, given = ".".join(filter(None, (name, *tables, knob))), error.get("ctx", {})
    for part in tables:
        hint = get_type_hints(kind)[part]
        kind = next(each for each in _parts(hint) if isinstance(each, type) and is_dataclass(each))
    if error["type"] == _UNKNOWN:
        return f"no knob is called {path}; there are {', '.join(each.name for each in fields(kind))}"
    if error["type"] == "value_error":
        return f"{path}: {given['error']}"
    limits = _limits(get_type_hints(kind, include_extras=True)[knob])
    if limits.keys() & given.keys():
        return f"{path}={error['input']!r} must be {_range(limits)}"
    return f"{path}={error['input']!r}{error['msg'].removeprefix('Input').replace(' should ', ' must ', 1)}"


def _limits(hint: Any) -> dict[str, float]:
    """Return the bounds of a type hint by their names in pydantic."""
    rules = [rule for part in _parts(hint) if isinstance(part, FieldInfo) for rule in part.metadata]
    return {bound: getattr(rule, bound) for rule in rules for bound in _BOUNDS if hasattr(rule, bound)}


def _range(limits: Mapping[str, float]) -> str:
    if limits.keys() == {"ge", "le"}:
        return f"{limits['ge']:g} to {limits['le']:g}"
    return " and ".join(f"{_BOUNDS[bound]} {limit:g}" for bound, limit in limits.items())


def _parts(hint: Any) -> Iterator[Any]:
    """Yield a type hint, the members of its unions and its annotations."""
    yield hint
    for part in get_args(hint):
        yield from _parts(part)
