"""Resolvers: look-up of writer schemas by registry id or fingerprint."""

from collections.abc import Iterable
from typing import Any, Protocol

from schemas.contracts import Schema, all_known, fingerprint
from schemas.errors import ContractError, UnknownSchemaError


class Resolver(Protocol):
    """Look-up of writer schemas, and of the schema id to write with."""

    def by_fingerprint(self, schema_fingerprint: bytes) -> Schema:
        """Return the schema with this fingerprint (8 bytes, little-endian). Raises UnknownSchemaError."""
        ...

    def by_id(self, schema_id: int) -> Schema:
        """Return the schema with this id in the Schema Registry.

        Raises UnknownSchemaError if the registry has no such schema, IncompatibleSchemaError if it is not Avro,
        RegistryUnavailable if the registry gives no definite answer.
        """
        ...

    def id_of(self, subject: str, record_type: type[Any]) -> int:
        """Return the id of the record's current schema under a subject.

        Raises ContractError if it is not registered there, RegistryUnavailable if the registry gives no definite
        answer.
        """
        ...


class LocalResolver:
    """A resolver of all published schemas of this package, without a registry. No IO after construction.

    more: further writer schemas, for example of a producer that adds its own fields.
    """

    def __init__(self, more: Iterable[Schema] = ()) -> None:
        self._schemas = all_known() | {fingerprint(schema): schema for schema in more}

    def by_fingerprint(self, schema_fingerprint: bytes) -> Schema:
        """See Resolver."""
        try:
            return self._schemas[schema_fingerprint]
        except KeyError:
            raise UnknownSchemaError(
                f"No published schema has the fingerprint {schema_fingerprint.hex()} (little-endian).",
                schema=f"schema fingerprint {schema_fingerprint.hex()}",
            ) from None

    def by_id(self, schema_id: int) -> Schema:
        """See Resolver. Without a registry every id is unknown."""
        raise UnknownSchemaError(
            f"The value has the schema id {schema_id}, but no Schema Registry is configured.",
            schema=f"schema id {schema_id}",
        )

    def id_of(self, subject: str, record_type: type[Any]) -> int:
        """See Resolver. Without a registry no schema is registered."""
        raise ContractError(
            f"Cannot write {record_type.__name__} to {subject} in Confluent's format without a Schema Registry."
        )
