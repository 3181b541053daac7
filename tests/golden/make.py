"""Publish changed schemas: `python -m tests.golden.make`.

If the current schema of a record differs from the newest published one, it becomes the next version under
schemas/published, and a golden value of it is written in each format. Existing golden files are never rewritten: an
old version cannot be encoded again, only kept readable.
"""

import json
import sys
from pathlib import Path
from typing import Any

from schemas.contracts import PUBLISHED, Schema, current, current_text, published
from schemas.convert import to_mapping
from schemas.errors import UnknownSchemaError
from schemas.records import RECORD_TYPES, Record
from schemas.resolvers import LocalResolver
from schemas.wire import Codec, WireFormat
from tests.golden.samples import SAMPLES

GOLDEN = Path(__file__).parent
FORMATS: tuple[WireFormat, ...] = ("single_object", "confluent")


class OneSchemaResolver(LocalResolver):
    """A registry that holds one schema under one id."""

    def __init__(self, schema_id: int, schema: Schema) -> None:
        super().__init__()
        self._schema_id = schema_id
        self._schema = schema

    def by_id(self, schema_id: int) -> Schema:
        """Return the schema. Raises UnknownSchemaError for any other id."""
        if schema_id != self._schema_id:
            raise UnknownSchemaError(f"No schema {schema_id}.")
        return self._schema

    def id_of(self, subject: str, record_type: type[Any]) -> int:
        """Return the only id."""
        return self._schema_id


def publish(record_type: type[Record]) -> int:
    """Return the version number of the current schema, and publish it if it is new."""
    versions = published(record_type)
    if not versions or without_docs(versions[-1]) != without_docs(current(record_type)):
        folder = PUBLISHED / record_type.__name__
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{len(versions) + 1}.avsc").write_text(current_text(record_type), encoding="utf-8")
        return len(versions) + 1
    return len(versions)


def without_docs(schema: Schema) -> Schema:
    """Return a schema without its docs, the only part that may change without a new version."""
    if isinstance(schema, list):
        return [without_docs(part) for part in schema]
    if isinstance(schema, dict):
        return {key: without_docs(value) for key, value in schema.items() if key != "doc"}
    return schema


def make_golden(record: Record, version: int) -> list[Path]:
    """Write the golden files of a record's version; return the new files, none if they exist."""
    record_type = type(record)
    stem = f"{record_type.__name__}.v{version}"
    if (GOLDEN / f"{stem}.json").exists():
        return []
    schema_id = 100 * RECORD_TYPES.index(record_type) + version
    made = [GOLDEN / f"{stem}.json"]
    expected = {"schema_id": schema_id, "record": to_mapping(record)}
    made[0].write_text(
        json.dumps(expected, ensure_ascii=False, indent=2, default=bytes.hex) + "\n", encoding="utf-8"
    )
    for wire_format in FORMATS:
        resolver = OneSchemaResolver(schema_id, current(record_type))
        codec: Codec[Any] = Codec(record_type, resolver=resolver, write=wire_format, subject="golden")
        made.append(GOLDEN / f"{stem}.{wire_format}.bin")
        made[-1].write_bytes(codec.encode(record))
    return made


def main() -> None:
    """Publish schemas, write golden files, and print the names of new ones."""
    made = [file for record in SAMPLES for file in make_golden(record, publish(type(record)))]
    sys.stdout.writelines(f"{file.name}\n" for file in made)


if __name__ == "__main__":
    main()
