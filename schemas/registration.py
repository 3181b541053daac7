"""Registration of the current schemas in a Schema Registry, and checks of their status.

Separate from schemas.registry, which only reads: a worker never registers a schema.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from confluent_kafka.schema_registry import Schema as RegistrySchema
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.contracts import current_text
from schemas.registry import is_not_found, unavailable

LEVEL = "BACKWARD"
KEEPS_BACKWARD = frozenset({"BACKWARD", "BACKWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"})
"""Compatibility levels under which a new schema reads older values; a stricter level than LEVEL is kept."""

# HTTP status 409: incompatible schema; 422: invalid schema.
_REFUSED = {409, 422}
_CHANGE = "Change the schema as docs/schemas.md allows, or take another topic"

T = TypeVar("T")


class RegistrationClient(Protocol):
    """The methods of confluent-kafka's SchemaRegistryClient that registration uses."""

    def register_schema(self, subject_name: str, schema: Any) -> int:
        """Register the schema unless it is registered already; return its id."""
        ...

    def lookup_schema(self, subject_name: str, schema: Any) -> Any:
        """Return the schema's registration under the subject, with schema_id and version."""
        ...

    def test_compatibility(self, subject_name: str, schema: Any) -> bool:
        """Return whether the schema is compatible with the subject's newest version."""
        ...

    def get_compatibility(self, subject_name: str | None = None) -> str:
        """Return the compatibility level of the subject, or of the registry if None."""
        ...

    def set_compatibility(self, subject_name: str, level: str) -> Any:
        """Set the compatibility level of the subject."""
        ...


@dataclass(frozen=True, slots=True)
class SubjectStatus:
    """The status of a record's current schema under a subject.

    schema_id, version: None if the schema is not registered. level: the subject's compatibility level.
    problem: what is wrong and how to fix it, or None.
    """

    subject: str
    record: str
    schema_id: int | None = None
    version: int | None = None
    level: str | None = None
    problem: str | None = None


def register(client: RegistrationClient, subject: str, record_type: type[Any]) -> SubjectStatus:
    """Register the current schema under the subject with compatibility BACKWARD. Idempotent.

    The level is set first, so that the registry applies it to this schema too. A schema that the registry refuses
    is reported as the status's problem. Raises RegistryUnavailable.
    """
    name, schema = record_type.__name__, _schema(record_type)
    try:
        level = _ask(f"setting the compatibility of {subject}", lambda: _raise_level(client, subject))
        _ask(f"registering {name} under {subject}", lambda: client.register_schema(subject, schema))
        found = _ask(f"looking {subject} up", lambda: client.lookup_schema(subject, schema))
    except (_RefusedError, _NotFoundError) as exc:
        return SubjectStatus(subject, name, problem=f"the registry refuses it: {exc}. {_CHANGE}")
    return SubjectStatus(subject, name, found.schema_id, found.version, level)


def check(client: RegistrationClient, subject: str, record_type: type[Any]) -> SubjectStatus:
    """Return the status of the current schema under the subject without changes. Raises RegistryUnavailable."""
    name, schema = record_type.__name__, _schema(record_type)
    level = _ask(f"asking for the compatibility of {subject}", lambda: _level(client, subject))
    try:
        found = _ask(f"looking {subject} up", lambda: client.lookup_schema(subject, schema))
    except _NotFoundError:
        return SubjectStatus(subject, name, level=level, problem=_why_not_registered(client, subject, schema))
    problem = None
    if level not in KEEPS_BACKWARD:
        problem = (
            f"{level} allows versions that cannot read old values: run `sway schemas register` to set {LEVEL}"
        )
    return SubjectStatus(subject, name, found.schema_id, found.version, level, problem)


def _why_not_registered(client: RegistrationClient, subject: str, schema: RegistrySchema) -> str:
    try:
        fits = _ask(f"testing {subject}", lambda: client.test_compatibility(subject, schema))
    # There is no version to compare with, or registration reports the problem.
    except (_NotFoundError, _RefusedError):
        fits = True
    if fits:
        return "not registered: run `sway schemas register`"
    return (
        "not registered, and the registry will refuse it: it is incompatible with the newest version there. "
        f"{_CHANGE}"
    )


def _schema(record_type: type[Any]) -> RegistrySchema:
    return RegistrySchema(current_text(record_type), "AVRO")


def _level(client: RegistrationClient, subject: str) -> str:
    try:
        return client.get_compatibility(subject)
    except SchemaRegistryError as exc:
        if not is_not_found(exc):
            raise
    # The subject has no level of its own: the registry's applies.
    return client.get_compatibility()


def _raise_level(client: RegistrationClient, subject: str) -> str:
    # The subject's own level: the registry's may be lowered later.
    try:
        level = client.get_compatibility(subject)
    except SchemaRegistryError as exc:
        if not is_not_found(exc):
            raise
        level = ""
    if level in KEEPS_BACKWARD:
        return level
    client.set_compatibility(subject, LEVEL)
    return LEVEL


class _RefusedError(Exception):
    """The registry refuses the schema; the message is the registry's."""


class _NotFoundError(Exception):
    """The registry has no such subject, or no such schema under it; the message is the registry's."""


def _ask(what: str, question: Callable[[], T]) -> T:
    try:
        return question()
    # httpx, OAuth and JSON errors alike, as in schemas.registry.
    except Exception as exc:
        if is_not_found(exc):
            raise _NotFoundError(str(exc)) from exc
        if isinstance(exc, SchemaRegistryError) and exc.http_status_code in _REFUSED:
            raise _RefusedError(exc.error_message) from exc
        raise unavailable(what, exc) from exc
