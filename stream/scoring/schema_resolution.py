"""Resolution of the writer schemas of a batch before it is read, and the hold of a partition at an unknown one."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.errors import RegistryUnavailable, UnknownSchemaError
from schemas.wire import Codec, asks_registry, header_of
from stream.exactly_once import Hold

logger = logging.getLogger(__name__)

_REGISTRY_PAUSE_S = 1.0
_REGISTRY = "the Schema Registry"
_PAUSED_HINT = (
    "Upgrade this worker to the version of the producer, or register the schema if its id belongs to a Schema "
    "Registry. To turn such records into dead letters instead, set wire.unknown_schema=dead_letter and restart the "
    "worker."
)


class SchemaResolution:
    """Resolves new schemas of a batch.

    waits: whether a record with an unknown schema pauses its partition instead of becoming a dead letter.
    on_wait: called with the reason when all intake waits for a service, and with None when it continues.
    """

    def __init__(self, on_wait: Callable[[str | None], None], *, waits: bool) -> None:
        self._on_wait = on_wait
        self._waits = waits

    async def prepare(self, codec: Codec[Any], values: Sequence[bytes | None], topic: str) -> Hold | None:
        """Resolve new schemas; return a Hold at the first value whose record must wait, or None."""
        headers = codec.unresolved(values)
        if not headers:
            return None
        refused = await self._resolve(codec, headers, topic)
        if not (refused and self._waits):
            return None
        return _hold_at(values, refused)

    async def _resolve(
        self, codec: Codec[Any], headers: set[bytes], topic: str
    ) -> Mapping[bytes, UnknownSchemaError]:
        if not asks_registry(headers):
            return codec.resolve(headers)
        while True:
            try:
                refused = await asyncio.to_thread(codec.resolve, headers)
            except RegistryUnavailable as exc:
                if self._waits:
                    return _resolve_without_registry(codec, headers, exc)
                logger.warning("%s waits for the Schema Registry: %s", topic, exc)
                self._on_wait("waiting for the Schema Registry")
                await asyncio.sleep(_REGISTRY_PAUSE_S)
            else:
                self._on_wait(None)
                return refused


def _resolve_without_registry(
    codec: Codec[Any], headers: set[bytes], unavailable: RegistryUnavailable
) -> Mapping[bytes, UnknownSchemaError]:
    """Resolve headers while the Schema Registry is unreachable; return the unknown ones with their errors."""
    refused = dict(codec.resolve({header for header in headers if not asks_registry([header])}))
    for header in codec.unresolved(list(headers)) - refused.keys():
        refused[header] = UnknownSchemaError(str(unavailable), schema=_REGISTRY)
    return refused


def _hold_at(values: Sequence[bytes | None], refused: Mapping[bytes, UnknownSchemaError]) -> Hold | None:
    """Return a Hold at the first value with an unknown header, or None."""
    for index, value in enumerate(values):
        error = refused.get(header_of(value) or b"") if value else None
        if error is not None:
            reason = str(error) if error.schema == _REGISTRY else f"{error} {_PAUSED_HINT}"
            return Hold(index, error.schema, reason)
    return None
