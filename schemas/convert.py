"""Records from and to plain mappings, for JSON, Parquet and fastavro."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar

from schemas import records
from schemas.contracts import current
from schemas.errors import EncodeError
from schemas.plan import ARRAY, MAP, OPTIONAL, RECORD, RecordPlan, Step, plan
from schemas.records import Record

R = TypeVar("R", bound=Record)


def to_mapping(record: Record) -> dict[str, Any]:
    """A record as a dict by field name, nested records too; times stay int milliseconds, bytes stay bytes."""
    return asdict(record)


def from_mapping(record_type: type[R], mapping: Mapping[str, Any]) -> R:
    """A record from a mapping by field name; fields that are left out take their defaults.

    Values are taken as they are: encoding checks their types, schemas.validate their contents.
    Raises EncodeError if a required field is missing, or one is there that the record does not have.
    """
    record: R = build(_plan(record_type.__name__), mapping)
    return record


def build(record_plan: RecordPlan, mapping: Mapping[str, Any]) -> Any:
    """The record of a plan from a mapping; collections are copied, never shared. Raises as from_mapping does."""
    steps = dict(zip(record_plan.names, record_plan.steps, strict=True))
    unknown = mapping.keys() - steps.keys()
    if unknown:
        raise EncodeError(f"{record_plan.name} has no field {sorted(unknown)}; it has {list(steps)}.")
    try:
        values = {name: _convert(steps[name], value) for name, value in mapping.items()}
        return record_plan.build(**values)
    except (TypeError, AttributeError) as exc:
        raise EncodeError(f"Cannot make a {record_plan.name}: {exc}.") from exc


@cache
def _plan(name: str) -> RecordPlan:
    return plan(current(getattr(records, name)))


def _convert(step: Step, value: Any) -> Any:
    kind, inner = step
    if kind == RECORD:
        return build(inner, value)
    if kind == ARRAY:
        return [_convert(inner, item) for item in value]
    if kind == MAP:
        return {key: _convert(inner, item) for key, item in value.items()}
    if kind == OPTIONAL and value is not None:
        return _convert(inner, value)
    return value
