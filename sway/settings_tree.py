"""The settings as a list of environment variables, for docs/settings.md and for the detection of misspelt names."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from stream.settings import Settings

PREFIX = str(Settings.model_config.get("env_prefix", ""))
DELIMITER = str(Settings.model_config.get("env_nested_delimiter", "__"))

_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_TYPES = {bool: "true, false", int: "whole number", float: "number", str: "text", SecretStr: "text, secret"}


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting.

    path: the dotted name of error messages. allowed: a description of valid values. default: None if it has none.
    """

    path: str
    section: str
    allowed: str
    default: Any
    description: str

    @property
    def name(self) -> str:
        """The environment variable."""
        return PREFIX + self.path.upper().replace(".", DELIMITER)


def variables() -> list[Variable]:
    """Return every setting in the order of the tree: the top level, then each section."""
    top = [
        _variable(name, "", field) for name, field in Settings.model_fields.items() if _section(field) is None
    ]
    return [*top, *(variable for name in sections() for variable in _of_section(name))]


def sections() -> dict[str, str]:
    """Return the description of each section, by name."""
    found = {}
    for name, field in Settings.model_fields.items():
        model = _section(field)
        if model is not None:
            found[name] = " ".join((model.__doc__ or "").split())
    return found


def unknown_variables(names: Collection[str]) -> dict[str, str | None]:
    """Return the names with our prefix that are not settings, each with the closest setting or None."""
    known = {variable.name for variable in variables()} | {PREFIX + name.upper() for name in sections()}
    ours = sorted(name for name in names if name.upper().startswith(PREFIX))
    return {
        name: next(iter(get_close_matches(name.upper(), known, 1)), None)
        for name in ours
        if name.upper() not in known
    }


def _of_section(name: str) -> Iterator[Variable]:
    model = _section(Settings.model_fields[name])
    fields: Mapping[str, FieldInfo] = {} if model is None else model.model_fields
    for field_name, field in fields.items():
        yield _variable(f"{name}.{field_name}", name, field)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None  # type: ignore[return-value]


def _variable(path: str, section: str, field: FieldInfo) -> Variable:
    return Variable(path, section, _allowed(field), field.default, field.description or "")


def _allowed(field: FieldInfo) -> str:
    bounds = [
        f"{words} {getattr(part, name):g}"
        for part in field.metadata
        for name, words in _BOUNDS.items()
        if getattr(part, name, None) is not None
    ]
    return ", ".join([_type_words(field.annotation), *bounds])


def _type_words(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if origin in {Union, UnionType}:
        return " or ".join(_type_words(part) for part in get_args(annotation) if part is not NoneType)
    if origin is tuple:
        return "JSON list of objects: " + ", ".join(get_args(annotation)[0].model_fields)
    if origin is dict:
        return f"JSON object: {_type_words(get_args(annotation)[1])} by name"
    return _TYPES.get(annotation, "path")
