"""Conversion between records and plain mappings, for JSON, Parquet and fastavro."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any, TypeAlias, TypeVar

from schemas import records
from schemas.contracts import current
from schemas.errors import EncodeError
from schemas.plan import ARRAY, MAP, OPTIONAL, RECORD, RecordPlan, Step, plan
from schemas.records import Record

R = TypeVar("R", bound=Record)
Builder: TypeAlias = Callable[[Any], Any]


def to_mapping(record: Record) -> dict[str, Any]:
    """Return a record, nested records included, as a dict by field name; times stay int ms, bytes stay bytes."""
    return asdict(record)


def from_mapping(record_type: type[R], mapping: Mapping[str, Any]) -> R:
    """Build a record from a mapping by field name; missing optional fields take their defaults.

    Values are not checked here: encoding checks their types, schemas.validate their contents.
    Raises EncodeError if a required field is missing or the record has no field of a given name.
    """
    try:
        record: R = _builder_of(record_type.__name__)(mapping)
    except (TypeError, ValueError, AttributeError) as exc:
        raise EncodeError(f"Cannot make a {record_type.__name__}: {exc}.") from exc
    return record


def prepare_builder(record_plan: RecordPlan) -> Builder:
    """Return a function that builds the plan's record from a mapping; collections are copied.

    The function raises TypeError or ValueError if the mapping does not have the record's fields.
    """
    converters = {
        name: converter
        for name, step in zip(record_plan.names, record_plan.steps, strict=True)
        if (converter := _converter(step)) is not None
    }

    def build(mapping: Mapping[str, Any]) -> Any:
        values = dict(mapping)
        for name, convert in converters.items():
            if name in values:
                values[name] = convert(values[name])
        return record_plan.build(**values)

    return build


@cache
def _builder_of(name: str) -> Builder:
    return prepare_builder(plan(current(getattr(records, name))))


def _converter(step: Step) -> Builder | None:
    kind, inner = step
    if kind == RECORD:
        return prepare_builder(inner)
    if kind not in {ARRAY, MAP, OPTIONAL}:
        return None
    convert = _converter(inner)
    if kind == OPTIONAL:
        return None if convert is None else lambda value: None if value is None else convert(value)
    if kind == ARRAY:
        return list if convert is None else lambda items: [convert(item) for item in items]
    return dict if convert is None else lambda entries: {key: convert(item) for key, item in entries.items()}
