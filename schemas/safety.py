"""Rejection of foreign writer schemas that can make a decoder hang or crash.

fastavro trusts the writer schema. If items take no bytes, ten bytes can declare 2**60 of them. A recursive
record turns a megabyte into a deep stack of C calls. Deeply nested records cost time without input.
No record of this package needs these, so such a schema is rejected before the first value is read.
"""

from typing import Any

from schemas.contracts import Schema
from schemas.errors import IncompatibleSchemaError

MAX_TYPES = 1000
"""Maximum number of types in a writer schema; a named type counts at each use."""
MAX_DEPTH = 32
"""Maximum nesting depth of types."""

_NO_BYTES = {"null"}
_NAMED = {"record", "error", "enum", "fixed"}


def check_writer(schema: Schema) -> None:
    """Check a writer schema parsed by fastavro.

    Raises IncompatibleSchemaError if it is recursive, too large or nested too deeply, or has arrays of items that
    take no bytes.
    """
    _Walk().size(schema, depth=0)


class _Walk:
    """A traversal that counts the types of a schema and collects its named types."""

    def __init__(self) -> None:
        self.types = 0
        self.named: dict[str, Any] = {}
        self.open: set[str] = set()

    def size(self, schema: Schema, depth: int) -> int:
        """Return the minimum number of bytes of a value of this schema."""
        self.types += 1
        if self.types > MAX_TYPES or depth > MAX_DEPTH:
            raise IncompatibleSchemaError(
                f"The writer schema has more than {MAX_TYPES} types, or types nested more than {MAX_DEPTH} deep."
            )
        if isinstance(schema, list):
            for branch in schema:
                self.size(branch, depth + 1)
            return 1
        if isinstance(schema, str):
            return (
                self.size(self.named[schema], depth + 1) if schema in self.named else schema not in _NO_BYTES
            )
        return self._complex(schema, depth)

    def _complex(self, schema: dict[str, Any], depth: int) -> int:
        kind = schema["type"]
        if kind == "array":
            if self.size(schema["items"], depth + 1) == 0:
                raise IncompatibleSchemaError("The writer schema has an array of items that take no bytes.")
            return 1
        if kind == "map":
            self.size(schema["values"], depth + 1)
            return 1
        if kind in _NAMED:
            return self._named(schema, depth)
        return self.size(kind, depth + 1)

    def _named(self, schema: dict[str, Any], depth: int) -> int:
        name = schema["name"]
        if name in self.open:
            raise IncompatibleSchemaError("The writer schema is recursive.")
        self.named[name] = schema
        if schema["type"] == "fixed":
            return int(schema["size"])
        if schema["type"] == "enum":
            return 1
        self.open.add(name)
        total = sum(self.size(field["type"], depth + 1) for field in schema["fields"])
        self.open.remove(name)
        return total
