"""Brings our current schemas into a Schema Registry, and asks it how they stand there.

Apart from schemas.registry, which reads: a worker never registers anything.
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
"""The levels under which a new reader reads what was written before; a stricter one than ours is left as it is."""

_REFUSED = {409, 422}  # incompatible; not a schema that the registry takes
_CHANGE = "Change the schema as docs/schemas.md allows, or take another topic"

T = TypeVar("T")


class RegistrationClient(Protocol):
    """The part of confluent-kafka's SchemaRegistryClient that is used."""

    def register_schema(self, subject_name: str, schema: Any) -> int:
        """Register it unless it is, and return its id."""
        ...

    def lookup_schema(self, subject_name: str, schema: Any) -> Any:
        """What is registered under the subject for this schema: schema_id, version."""
        ...

    def test_compatibility(self, subject_name: str, schema: Any) -> bool:
        """Whether the schema may follow the newest one of the subject."""
        ...

    def get_compatibility(self, subject_name: str | None = None) -> str:
        """The level of the subject, or of the registry."""
        ...

    def set_compatibility(self, subject_name: str, level: str) -> Any:
        """Set the level of the subject."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How the current schema of a record stands under a subject.

    schema_id, version: None if it is not registered there. level: under which the subject takes new versions.
    problem: what is wrong and what to do, None if nothing is.
    """

    subject: str
    record: str
    schema_id: int | None = None
    version: int | None = None
    level: str | None = None
    problem: str | None = None


def register(client: RegistrationClient, subject: str, record_type: type[Any]) -> Standing:
    """Register the current schema under the subject, with compatibility BACKWARD; may be repeated.

    The level is set first, so that the registry judges this schema by it too. What the registry refuses is the
    standing's problem. Raises RegistryUnavailable.
    """
    name, schema = record_type.__name__, _schema(record_type)
    try:
        level = _ask(f"setting the compatibility of {subject}", lambda: _raise_level(client, subject))
        _ask(f"registering {name} under {subject}", lambda: client.register_schema(subject, schema))
        found = _ask(f"looking {subject} up", lambda: client.lookup_schema(subject, schema))
    except (_RefusedError, _NotFoundError) as exc:
        return Standing(subject, name, problem=f"the registry refuses it: {exc}. {_CHANGE}")
    return Standing(subject, name, found.schema_id, found.version, level)


def check(client: RegistrationClient, subject: str, record_type: type[Any]) -> Standing:
    """Ask how the current schema stands under the subject, and change nothing. Raises RegistryUnavailable."""
    name, schema = record_type.__name__, _schema(record_type)
    level = _ask(f"asking for the compatibility of {subject}", lambda: _level(client, subject))
    try:
        found = _ask(f"looking {subject} up", lambda: client.lookup_schema(subject, schema))
    except _NotFoundError:
        return Standing(subject, name, level=level, problem=_why_not_registered(client, subject, schema))
    problem = None
    if level not in KEEPS_BACKWARD:
        problem = (
            f"{level} lets in versions that cannot read old values: run `sway schemas register` for {LEVEL}"
        )
    return Standing(subject, name, found.schema_id, found.version, level, problem)


def _why_not_registered(client: RegistrationClient, subject: str, schema: RegistrySchema) -> str:
    try:
        fits = _ask(f"testing {subject}", lambda: client.test_compatibility(subject, schema))
    except (
        _NotFoundError,
        _RefusedError,
    ):  # no version to compare with; or registering will say what is wrong
        fits = True
    if fits:
        return "not registered: run `sway schemas register`"
    return (
        "not registered, and the registry will refuse it: it is not compatible with the newest version there. "
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
    return client.get_compatibility()  # it has none of its own: the registry's holds


def _raise_level(client: RegistrationClient, subject: str) -> str:
    # Its own level, not the registry's, which somebody may lower later.
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
    """The registry does not take the schema; its words."""


class _NotFoundError(Exception):
    """The registry has no such subject, or no such schema under it; its words."""


def _ask(what: str, question: Callable[[], T]) -> T:
    try:
        return question()
    except Exception as exc:  # httpx, OAuth and JSON errors alike, as in schemas.registry
        if is_not_found(exc):
            raise _NotFoundError(str(exc)) from exc
        if isinstance(exc, SchemaRegistryError) and exc.http_status_code in _REFUSED:
            raise _RefusedError(exc.error_message) from exc
        raise unavailable(what, exc) from exc
