"""Plans: what to read or write for one of our own schemas, step by step, prepared once.

fastavro reads a BehaviorEvent into a dict in 4.7 µs and writes an InfluenceScore from one in 7.1 µs, for it
calls a Python method for every byte of every length. Going by plan takes two thirds of that, checks each
length before it allocates, and builds our class at once. So what is in exactly our schema goes by plan
(schemas.read, schemas.write); everything else, which is rare, goes through fastavro (schemas.evolve).
Figures: benchmarks/decode.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

from schemas import records
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
"""A kind, and what it needs: the step of the inner type, a record's plan, or None."""


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """How one record is laid out: steps in the schema's order, which is the class's order too.

    build: the record class; takes the values by position.
    """

    name: str
    names: tuple[str, ...]
    steps: tuple[Step, ...]
    build: Callable[..., Any]


def plan(schema: Schema) -> RecordPlan:
    """The plan of one of our record schemas.

    Raises ContractError if the schema uses a type that plans do not know, or if the record class in
    schemas.records is missing or has other fields or another order.
    """
    name = name_of(schema)
    record_type = getattr(records, name, None)
    if record_type is None:
        raise ContractError(f"The schema {name} has no class in schemas.records: add one with its fields.")
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
        f"{where} has the type {kind}, which plans do not know: {sorted(_PRIMITIVES)}, "
        "map, array, record, or null and one of these. Use one or teach it schemas.plan."
    )


def _optional(branches: list[Schema], where: str) -> Step:
    if len(branches) != 2 or branches[0] != "null":
        raise ContractError(f"{where} has the union {branches}; allowed is null first and one other type.")
    return OPTIONAL, _step(branches[1], where)
