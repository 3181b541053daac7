"""The schema files: current and published, their fingerprints, and what is stripped before use.

schemas/<Record>.avsc is the current schema and schemas/published/<Record>/<n>.avsc every version that
was ever released, so that what was written with it stays readable. The newest published one and the
current one are the same; a test says so.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from fastavro.schema import fingerprint as fastavro_fingerprint
from fastavro.schema import parse_schema, to_parsing_canonical_form

from schemas.errors import ContractError
from schemas.records import RECORD_TYPES

Schema: TypeAlias = Any
"""An Avro schema as parsed from JSON: a dict, a list (a union) or the name of a type."""

FOLDER = Path(__file__).parent
PUBLISHED = FOLDER / "published"


def current_text(record_type: type[Any]) -> str:
    """The current schema of a record as its file holds it, for a Schema Registry or another language."""
    return _read(FOLDER / f"{record_type.__name__}.avsc")


def current(record_type: type[Any]) -> Schema:
    """The current schema of a record, as parsed from JSON."""
    return json.loads(current_text(record_type))


def published(record_type: type[Any]) -> tuple[Schema, ...]:
    """Every published version of a record's schema, oldest first; [-1] is the newest."""
    folder = PUBLISHED / record_type.__name__
    files = sorted(folder.glob("*.avsc"), key=lambda file: int(file.stem))
    return tuple(json.loads(_read(file)) for file in files)


@cache
def all_known() -> dict[bytes, Schema]:
    """Every published version of every record, and its current schema, by fingerprint. Not to be changed."""
    return {
        fingerprint(schema): schema
        for record_type in RECORD_TYPES
        for schema in (*published(record_type), current(record_type))
    }


def fingerprint(schema: Schema) -> bytes:
    """CRC-64-AVRO of the Parsing Canonical Form, little-endian, 8 bytes, as single-object encoding has it.

    The canonical form leaves out docs, defaults, aliases and logical types: two schemas with the same
    fingerprint write the same bytes.
    Source: Avro specification, "Parsing Canonical Form" and "Single-object encoding".
    """
    canonical = to_parsing_canonical_form(physical(schema))
    return bytes.fromhex(fastavro_fingerprint(canonical, "CRC-64-AVRO"))


def physical(schema: Schema) -> Schema:
    """The schema without logical types, so that a time goes through as the long that it is.

    Source: the head of schemas.records says why.
    """
    if isinstance(schema, list):
        return [physical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    stripped = {key: value for key, value in schema.items() if key not in {"logicalType", "default"}}
    for key in ("type", "items", "values"):
        if key in stripped:
            stripped[key] = physical(stripped[key])
    if isinstance(stripped.get("fields"), list):
        stripped["fields"] = [physical(field) for field in stripped["fields"]]
    if "default" in schema:
        stripped["default"] = schema["default"]
    return stripped


def parsed(schema: Schema) -> Schema:
    """The schema without logical types, checked and prepared by fastavro.

    Raises whatever fastavro raises on a schema that is none; the caller knows whose schema it is.
    """
    return parse_schema(physical(schema))


def name_of(schema: Schema) -> str:
    """The unqualified name of a record's schema; empty for a schema of another kind."""
    name = schema.get("name", "") if isinstance(schema, dict) else ""
    return str(name).rpartition(".")[2]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as exc:
        raise ContractError(f"Cannot read the schema {file.name}: {exc.strerror}. Reinstall sway.") from exc
