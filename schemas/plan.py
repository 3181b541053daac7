"""Plans: precomputed steps to read or write a record in its current schema.

fastavro reads a BehaviorEvent into a dict in 4.7 µs and writes an InfluenceScore from one in 7.1 µs, because
it calls a Python method for every byte of every length. A plan takes two thirds of that time, checks each
length before it allocates, and builds the record class directly. Values in the current schema are read and
written by plan (schemas.read, schemas.write). Other values are rare and go through fastavro (schemas.evolve).
Figures: benchmarks/decode.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

from schemas import records, state_records
from schemas.contracts import Schema, name_of
from schemas.errors import ContractError

STRING: Final = 0
LONG: Final = 1
DOUBLE: Final = 2
BOOLEAN: Final = 3
INT: Final = 4
BYTES: Final = 5
OPTIONAL: Final = 6
MAP: Final = 7
ARRAY: Final = 8
RECORD: Final = 9

_PRIMITIVES = {
    "string": STRING,
    "long": LONG,
    "double": DOUBLE,
    "boolean": BOOLEAN,
    "int": INT,
    "bytes": BYTES,
}

Step: TypeAlias = tuple[int, Any]
"""A kind and its parameter: the step of the inner type, the plan of a record, or None."""


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """The layout of one record: steps in the field order of both the schema and the class.

    build: the record class; takes the field values as positional arguments.
    """

    name: str
    names: tuple[str, ...]
    steps: tuple[Step, ...]
    build: Callable[..., Any]


def plan(schema: Schema) -> RecordPlan:
    """Return the plan of a schema that has a class in schemas.records or schemas.state_records.

    Raises ContractError if the schema uses an unsupported type, or if the class is missing, has other fields
    or another field order.
    """
    name = name_of(schema)
    record_type = getattr(records, name, None) or getattr(state_records, name, None)
    if record_type is None:
        raise ContractError(
            f"The schema {name} has no class in schemas.records or schemas.state_records: add one with its fields."
        )
    names = [field["name"] for field in schema["fields"]]
    ours = [field.name for field in fields(record_type)]
    if names != ours:
        raise ContractError(f"The fields of {name} differ: {names} in the schema, {ours} in the class.")
    steps = tuple(_step(field["type"], f"{name}.{field['name']}") for field in schema["fields"])
    return RecordPlan(name, tuple(names), steps, record_type)


def _step(schema: Schema, where: str) -> Step:
    if isinstance(schema, list):
        return _optional(schema, where)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind], None
    if kind == "map":
        return MAP, _step(schema["values"], where)
    if kind == "array":
        return ARRAY, _step(schema["items"], where)
    if kind == "record":
        return RECORD, plan(schema)
    raise ContractError(
        f"{where} has the unsupported type {kind}. Allowed are {sorted(_PRIMITIVES)}, map, array, record, "
        "and a union of null and one of these. Use one of them or add the type to schemas.plan."
    )


def _optional(branches: list[Schema], where: str) -> Step:
    if len(branches) != 2 or branches[0] != "null":
        raise ContractError(f"{where} has the union {branches}; only null followed by one type is allowed.")
    return OPTIONAL, _step(branches[1], where)
