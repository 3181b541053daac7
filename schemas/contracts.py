"""Schema files: the current and published versions, their fingerprints and their physical form.

schemas/<Record>.avsc is the current schema. schemas/published/<Record>/<n>.avsc holds every released
version, so that values written with it stay readable. The newest published version equals the current one;
a test checks this.
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
    """Return the text of a record's current schema file, for a Schema Registry or another language."""
    return _read(FOLDER / f"{record_type.__name__}.avsc")


def current(record_type: type[Any]) -> Schema:
    """Return a record's current schema, as parsed from JSON."""
    return json.loads(current_text(record_type))


def published(record_type: type[Any]) -> tuple[Schema, ...]:
    """Return all published versions of a record's schema, oldest first."""
    folder = PUBLISHED / record_type.__name__
    files = sorted(folder.glob("*.avsc"), key=lambda file: int(file.stem))
    return tuple(json.loads(_read(file)) for file in files)


@cache
def all_known() -> dict[bytes, Schema]:
    """Return all published and current schemas of all records by fingerprint. Callers must not modify the result."""
    return {
        fingerprint(schema): schema
        for record_type in RECORD_TYPES
        for schema in (*published(record_type), current(record_type))
    }


def fingerprint(schema: Schema) -> bytes:
    """Return the CRC-64-AVRO of the schema's Parsing Canonical Form: 8 bytes, little-endian.

    The canonical form omits docs, defaults, aliases and logical types: two schemas with the same
    fingerprint write the same bytes.
    Source: Avro specification, "Parsing Canonical Form" and "Single-object encoding".
    """
    canonical = to_parsing_canonical_form(physical(schema))
    return bytes.fromhex(fastavro_fingerprint(canonical, "CRC-64-AVRO"))


def physical(schema: Schema) -> Schema:
    """Return the schema without logical types, so that a timestamp stays a long.

    The docstring of schemas.records gives the reason.
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
    """Return the schema without logical types, validated and prepared by fastavro.

    An invalid schema raises fastavro's own exception; the caller knows where the schema comes from.
    """
    return parse_schema(physical(schema))


def name_of(schema: Schema) -> str:
    """Return the unqualified name of a record schema, or "" for a schema of another kind."""
    name = schema.get("name", "") if isinstance(schema, dict) else ""
    return str(name).rpartition(".")[2]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as exc:
        raise ContractError(f"Cannot read the schema {file.name}: {exc.strerror}. Reinstall sway.") from exc
