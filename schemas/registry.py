"""A resolver of schema ids backed by a Confluent-compatible Schema Registry.

Separate from schemas.resolvers because importing confluent-kafka's client takes half a second.
"""

import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from confluent_kafka.schema_registry import Schema as RegistrySchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.contracts import Schema, current_text
from schemas.errors import ContractError, IncompatibleSchemaError, RegistryUnavailable, UnknownSchemaError
from schemas.resolvers import LocalResolver
from schemas.unknown_ids import UnknownIds

MAX_SCHEMA_CHARACTERS = 1_048_576
_WRONG_USER = {401, 403}


class RegistryClient(Protocol):
    """The methods of confluent-kafka's SchemaRegistryClient that are used; the client caches its results."""

    def get_schema(self, schema_id: int) -> Any:
        """Return the schema with this id, with schema_str, schema_type and references."""
        ...

    def lookup_schema(self, subject_name: str, schema: Any) -> Any:
        """Return the schema's registration under the subject, with schema_id."""
        ...


def connect(url: str, *, timeout_s: float = 5.0, more: dict[str, Any] | None = None) -> SchemaRegistryClient:
    """Return a client for the registry at url without sending a request.

    timeout_s: limit of one request; the client's default is unlimited. The client does not retry: the caller
    does, with its partitions paused.
    more: further settings of SchemaRegistryClient, such as basic.auth.user.info or ssl.ca.location.
    Raises ContractError if the client rejects the settings.
    """
    try:
        return SchemaRegistryClient({"url": url, "timeout": timeout_s, "max.retries": 0, **(more or {})})
    except (ValueError, TypeError, OSError) as exc:
        # Not chained and without the message: both may contain the credentials in the URL.
        raise ContractError(
            f"The Schema Registry client rejects its settings ({type(exc).__name__}): check the URL "
            f"and the settings {sorted(more or {})}."
        ) from None


class RegistryResolver:
    """A resolver of both wire formats: schema ids through a Schema Registry, fingerprints through local.

    unknown_for_s: how long an unknown id stays unknown without another request, in seconds. Afterwards it is
    requested again, since the registry may have been restored or a replica may have caught up. While too many ids
    are unknown, new ids count as unknown without a request (schemas.unknown_ids).
    clock: a monotonic clock, in seconds.
    Every method except by_fingerprint may wait for the network.
    """

    def __init__(
        self,
        client: RegistryClient,
        *,
        local: LocalResolver | None = None,
        unknown_for_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._local = local or LocalResolver()
        self._clock = clock
        self._unknown_ids = UnknownIds(unknown_for_s, clock())

    def by_fingerprint(self, schema_fingerprint: bytes) -> Schema:
        """See Resolver."""
        return self._local.by_fingerprint(schema_fingerprint)

    def by_id(self, schema_id: int) -> Schema:
        """See Resolver."""
        now_s = self._clock()
        if self._unknown_ids.holds(schema_id, now_s):
            raise _unknown(schema_id)
        if not self._unknown_ids.may_ask(schema_id, now_s):
            raise _not_asked(schema_id, len(self._unknown_ids), self._unknown_ids.keep_s)
        try:
            registered = self._client.get_schema(schema_id)
        # httpx, OAuth and JSON errors alike: only the registry's own answer makes an id unknown.
        except Exception as exc:
            if is_not_found(exc):
                self._unknown_ids.add(schema_id, now_s)
                raise _unknown(schema_id) from exc
            raise unavailable(f"fetching the schema {schema_id}", exc) from exc
        self._unknown_ids.found(schema_id)
        return _avro(schema_id, registered)

    def id_of(self, subject: str, record_type: type[Any]) -> int:
        """See Resolver."""
        schema = RegistrySchema(current_text(record_type), "AVRO")
        try:
            schema_id = int(self._client.lookup_schema(subject, schema).schema_id)
        # as above
        except Exception as exc:
            if is_not_found(exc):
                raise ContractError(
                    f"The current schema of {record_type.__name__} is not registered under {subject}: "
                    "register it, or write in the single_object format."
                ) from exc
            raise unavailable(f"looking {subject} up", exc) from exc
        self._unknown_ids.found(schema_id)
        return schema_id


def _avro(schema_id: int, registered: Any) -> Schema:
    if registered.schema_type not in {None, "AVRO"}:
        raise IncompatibleSchemaError(f"The schema {schema_id} is {registered.schema_type}; Avro is allowed.")
    if registered.references:
        raise IncompatibleSchemaError(
            f"The schema {schema_id} references other schemas, which is not supported: inline them."
        )
    text = registered.schema_str or ""
    if len(text) > MAX_SCHEMA_CHARACTERS:
        raise IncompatibleSchemaError(
            f"The schema {schema_id} has {len(text)} characters; at most {MAX_SCHEMA_CHARACTERS} are allowed."
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise IncompatibleSchemaError(f"The schema {schema_id} is not JSON.") from exc


def is_not_found(error: Exception) -> bool:
    """Return whether the error is the registry's own answer that a subject, version or schema does not exist."""
    # A plain 404 may come from a wrong path or a proxy, and would turn every record into a dead letter. The
    # registry's own answer has a five-digit code: 40401 subject, 40402 version, 40403 schema not found.
    if not isinstance(error, SchemaRegistryError) or error.http_status_code != 404:
        return False
    return 40_400 <= (error.error_code or 0) <= 40_499


def _unknown(schema_id: int) -> UnknownSchemaError:
    return UnknownSchemaError(
        f"The Schema Registry has no schema {schema_id}.", schema=f"schema id {schema_id}"
    )


def _not_asked(schema_id: int, refused: int, keep_s: float) -> UnknownSchemaError:
    return UnknownSchemaError(
        f"The Schema Registry was not asked for the schema {schema_id}: {refused} other ids were unknown within "
        f"{keep_s:g} s, so the topic probably contains invalid values.",
        schema=f"schema id {schema_id}",
    )


def unavailable(what: str, exc: Exception) -> RegistryUnavailable:
    """Return the error for a request without a definite answer; what: the request, such as "looking x up"."""
    said = str(exc) if isinstance(exc, SchemaRegistryError) else type(exc).__name__
    if isinstance(exc, SchemaRegistryError) and exc.http_status_code in _WRONG_USER:
        way_out = "Check the user and the password in its URL."
    else:
        way_out = "Retry later."
    return RegistryUnavailable(f"The Schema Registry did not answer when {what}: {said}. {way_out}")
